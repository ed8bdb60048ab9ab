"""A bare Pyramid application with Breakbulk in it, on no database in particular."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyramid.config import Configurator
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

Configure = Callable[..., Configurator]


@pytest.fixture(autouse=True)
def _forgotten(unbound: None) -> None:
    """Jobs that a test scans are nobody else's."""


@pytest.fixture
def configure() -> Configure:
    """Call it with settings for a configurator that includes Breakbulk."""

    def make(settings: dict[str, Any] | None = None, **options: Any) -> Configurator:
        given = {"celery.broker_url": "memory://", **(settings or {})}
        config = Configurator(settings=given, **options)
        config.include("breakbulk")
        config.registry["dbsession_factory"] = sessionmaker(create_engine("sqlite://"))
        return config

    return make
