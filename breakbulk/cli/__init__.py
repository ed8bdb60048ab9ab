"""The command line: ``breakbulk …`` and ``celery -A shop breakbulk …``.

Celery loads this whenever its own command line starts, in every project of the environment; so
nothing here is loaded before it is used.
"""

from __future__ import annotations

from breakbulk.cli.group import breakbulk, celery_command


def main() -> None:
    """Run the command line and end the process."""
    breakbulk.main(prog_name="breakbulk")


__all__ = ["breakbulk", "celery_command", "main"]
