"""``breakbulk.*`` and ``celery.*`` settings: text of an .ini, or objects of a ``main()``."""

from __future__ import annotations

from typing import Any

import pytest

from breakbulk.errors import ConfigurationError
from breakbulk.pyramid.celery_settings import celery_settings
from breakbulk.pyramid.settings import PyramidSettings, read
from breakbulk.settings import Settings


def test_nothing_is_needed() -> None:
    assert read({"pyramid.includes": "breakbulk"}) == (PyramidSettings(), Settings())


def test_text_becomes_what_it_means() -> None:
    ours, knobs = read(
        {
            "breakbulk.database": " postgresql+psycopg:///shop ",
            "breakbulk.schema": "ledger",
            "breakbulk.at_least_once": "Yes",
            "breakbulk.dbsession": "db",
            "breakbulk.base_url": "https://shop.example",
            "breakbulk.slice_seconds": "2.5",
            "breakbulk.max_carve": " 7 ",
            "breakbulk.web.theme": "the dashboard's business",
        }
    )
    assert ours == PyramidSettings(
        database="postgresql+psycopg:///shop",
        schema="ledger",
        at_least_once=True,
        dbsession="db",
        base_url="https://shop.example",
    )
    assert knobs == Settings(slice_seconds=2.5, max_carve=7)


def test_objects_stay_as_they_are() -> None:
    factory = object()
    ours, knobs = read(
        {
            "breakbulk.database": factory,
            "breakbulk.at_least_once": False,
            "breakbulk.slice_seconds": 3,
            "breakbulk.max_losses": 4,
        }
    )
    assert ours == PyramidSettings(database=factory)
    assert knobs == Settings(slice_seconds=3, max_losses=4)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "slise_seconds",
            "5",
            "There is no setting breakbulk.slise_seconds: did you mean breakbulk.slice_seconds?",
        ),
        ("zzz", "5", "There is no setting breakbulk.zzz: there are breakbulk.database, "),
        ("slice_seconds", "five", "breakbulk.slice_seconds must be a number, not 'five'."),
        ("slice_seconds", True, "breakbulk.slice_seconds must be a number, not True."),
        ("max_carve", "1.5", "breakbulk.max_carve must be a whole number, not '1.5'."),
        ("max_carve", 1.5, "breakbulk.max_carve must be a whole number, not 1.5."),
        ("at_least_once", "perhaps", "breakbulk.at_least_once must be true or false, not"),
        ("at_least_once", None, "breakbulk.at_least_once must be true or false, not None."),
        ("dbsession", "", "breakbulk.dbsession must be text, not ''."),
        ("schema", 5, "breakbulk.schema must be text, not 5."),
        ("database", " ", "breakbulk.database must be a URL, a dotted name, or an object, not"),
        ("slice_seconds", "0", "slice_seconds must be at least 1"),
        ("lease_seconds", "-1", "The setting lease_seconds must be a number from 0 up"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read({f"breakbulk.{key}": value})
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


# Celery's


def test_celery_knows_what_its_settings_are() -> None:
    found = celery_settings(
        {
            "sqlalchemy.url": "sqlite://",
            "celery.broker_url": "redis://localhost/1",
            "celery.worker_prefetch_multiplier": "1",
            "celery.task_acks_late": "true",
            "celery.task_time_limit": "12.5",
            "celery.imports": "shop.tasks, shop.nightly\n  shop.mail",
            "celery.accept_content": '["json"]',
            "celery.task_routes": '{"breakbulk.lane": "bulk"}',
            "celery.worker_concurrency": "4",
            "celery.broker_transport_options.visibility_timeout": "3600",
            "celery.broker_transport_options.global_keyprefix": "shop:",
            "celery.broker_transport_options.deep.er": "true",
            "celery.redbeat_redis_url": "redis://localhost/2",
        }
    )
    assert found == {
        "broker_url": "redis://localhost/1",
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
        "task_time_limit": 12.5,
        "imports": ["shop.tasks", "shop.nightly", "shop.mail"],
        "accept_content": ["json"],
        "task_routes": {"breakbulk.lane": "bulk"},
        "worker_concurrency": 4,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "global_keyprefix": "shop:",
            "deep": {"er": True},
        },
        "redbeat_redis_url": "redis://localhost/2",
    }


def test_parts_complete_a_whole_and_objects_stay() -> None:
    found = celery_settings(
        {
            "celery.broker_transport_options.b": "2",
            "celery.broker_transport_options": '{"a": 1}',
            "celery.beat_schedule": {"nightly": {}},
        }
    )
    assert found == {"broker_transport_options": {"a": 1, "b": 2}, "beat_schedule": {"nightly": {}}}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "broker_ulr",
            "redis://",
            "Celery has no setting celery.broker_ulr: did you mean celery.broker_url?",
        ),
        ("task_acks_late", "maybe", "celery.task_acks_late must be true or false, not 'maybe'."),
        ("worker_prefetch_multiplier", "one", "celery.worker_prefetch_multiplier must be a whole"),
        ("broker_transport_options", "[1]", "celery.broker_transport_options must be a mapping in"),
        ("broker_url.host", "x", "celery.broker_url.host is a part of celery.broker_url, which"),
    ],
)
def test_what_celery_would_not_take_is_told_in_one_sentence(
    key: str, value: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        celery_settings({"celery.broker_url": "memory://", f"celery.{key}": value})
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)
