"""Every fault that strikes at random moments, for the mix."""

from __future__ import annotations

from tests.chaos.faults import brokers, databases, operators, processes, refusals

#: A seed draws from this list by place, so what is new comes last.
FAULTS = (*processes.ALL, *brokers.ALL, *databases.ALL, *refusals.ALL, *operators.ALL)
