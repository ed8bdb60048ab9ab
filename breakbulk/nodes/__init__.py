"""What a worker tells the platform that it runs on, and what it hears from it.

A platform that takes machines away should know which ones are at work, and a worker should know
that its machine is about to go. Nothing here is needed for being right: a node that is lost costs
one lease. It makes losses rare.
"""

from __future__ import annotations

from breakbulk.nodes.hook import NodeHook, chosen_hooks

__all__ = ["NodeHook", "chosen_hooks"]
