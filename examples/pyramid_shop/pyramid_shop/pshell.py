"""What ``pshell`` has at hand."""

from __future__ import annotations

from typing import Any

from pyramid_shop import jobs, models


def setup(env: dict[str, Any]) -> None:
    """Begin a transaction and name a few things."""
    request = env["request"]
    request.tm.begin()
    env["tm"] = request.tm
    env["dbsession"] = request.dbsession
    env["bulk"] = request.registry["breakbulk"]
    env["models"] = models
    env["jobs"] = jobs
