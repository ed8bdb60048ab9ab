"""``python -m breakbulk``: the command line, without the need to find its script."""

from __future__ import annotations

from breakbulk.cli import main

main()
