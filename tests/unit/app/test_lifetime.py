"""What an application leaves behind in its process: nothing, for tests make hundreds of them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from celery import Celery

from breakbulk import Breakbulk


def test_an_application_that_nobody_has_is_gone() -> None:
    celery = Celery("short", broker="memory://", set_as_current=False)
    bulk = Breakbulk("sqlite://", celery=celery)
    gone: list[weakref.ref[Any]] = [weakref.ref(celery), weakref.ref(bulk)]
    celery.close()
    del celery, bulk
    gc.collect()
    assert [one() for one in gone] == [None, None]
