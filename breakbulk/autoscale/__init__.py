"""Nodes that follow the work: ``breakbulk autoscale``, and what it starts and stops nodes with."""

from __future__ import annotations

from breakbulk.autoscale.controller import Controller, Turn
from breakbulk.autoscale.provider import Node, Provider

__all__ = ["Controller", "Node", "Provider", "Turn"]
