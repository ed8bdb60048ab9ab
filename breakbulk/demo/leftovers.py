"""Which directories belong to a living demo, and which were left by one that was killed.

A lock of the operating system tells: it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakbulk.errors import ConfigurationError

PREFIX = "breakbulk-demo-"
"""Of the temporary directories' names."""

_CLAIM = "alive"


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Claim a new temporary directory."""
    draft = directory / f"{_CLAIM}.draft"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Nobody ever finds it unlocked while we live.
        draft.rename(directory / _CLAIM)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reserved(directory: Path) -> Iterator[None]:
    """Claim a directory that is kept from one demo to the next.

    Raises:
        ConfigurationError: another demo is using it.
    """
    descriptor = os.open(directory / _CLAIM, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"Another demo is using {directory}: end it first, or keep the data elsewhere."
            ) from error
        yield
    finally:
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove the directories of demos that are dead; others' and living ones stay."""
    for claim in parent.glob(f"{PREFIX}*/{_CLAIM}"):
        try:
            descriptor = os.open(claim, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(claim.parent, ignore_errors=True)
        finally:
            os.close(descriptor)
