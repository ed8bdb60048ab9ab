"""Fixtures of the acceptance tests: a warehouse with real workers."""

from tests.support.stages import broker_named, set_stage, stage

__all__ = ["broker_named", "set_stage", "stage"]
