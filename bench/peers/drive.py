"""The process that hands in a contestant's chunks and waits for their end.

    python -m bench.peers.drive NAME prepare
    python -m bench.peers.drive NAME run FUNCTION CHUNKS SECONDS

The first one makes the contestant's tables and prints the command lines of its workers as JSON.
The second one brings all worker processes to work, says ``warm``, waits for a line, and prints
what it measured as JSON. It gives up after so many seconds, once for each of the two.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import psutil
from sqlalchemy import text

from bench.memory import peak
from bench.peers import roster, work
from bench.peers.peer import CHUNK_SIZE, WORKERS, Peer

_LOOK_SECONDS = 0.02
_WARM_PARTS = 16


def main() -> None:
    """Prepare, or run and measure."""
    peer = roster.peer(sys.argv[1])
    if sys.argv[2] == "prepare":
        peer.prepare()
        print(json.dumps([list(command) for command in peer.workers()]))
        return
    name, chunks, patience = sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    _warm(peer, patience)
    parts = range(0, chunks * CHUNK_SIZE, CHUNK_SIZE) if name == "score" else range(chunks)
    print("warm", flush=True)
    sys.stdin.readline()
    began = time.time()
    peer.submit(name, parts)
    submitted = time.time()
    ended = _await(peer, patience)
    print(
        json.dumps(
            {
                "seconds": ended - began,
                "submit": submitted - began,
                "submitter": peak(psutil.Process().pid),
            }
        ),
        flush=True,
    )


def _warm(peer: Peer, patience: float) -> None:
    deadline = time.monotonic() + patience
    come = 0
    while come < WORKERS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Only {come} of {WORKERS} worker processes have come to work.")
        _hand_in(peer, "warm", range(_WARM_PARTS), patience)
        with work.engine().connect() as connection:
            come = connection.execute(text("SELECT count(DISTINCT pid) FROM warmed")).scalar_one()
    with work.engine().begin() as connection:
        connection.execute(text("TRUNCATE called_back"))


def _hand_in(peer: Peer, name: str, parts: Sequence[int], patience: float) -> None:
    with work.engine().begin() as connection:
        connection.execute(text("TRUNCATE called_back"))
    peer.submit(name, parts)
    _await(peer, patience)


def _await(peer: Peer, patience: float) -> float:
    deadline = time.monotonic() + patience
    while (ended := peer.done()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"It has not come to its end within {patience:.0f} s.")
        time.sleep(_LOOK_SECONDS)
    return ended


if __name__ == "__main__":
    main()
