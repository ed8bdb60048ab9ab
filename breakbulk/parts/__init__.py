"""The worker's side of a canvas: Celery tasks as the items of a run."""

from breakbulk.parts.job import Parts, declare_parts
from breakbulk.parts.release import install_release

__all__ = ["Parts", "declare_parts", "install_release"]
