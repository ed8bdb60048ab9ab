"""The hand-written loop: a pool of processes, no queue, no ledger, nothing to resume from.

    python -m bench.loop ROWS [WAY]

The way is ``scores`` (a range is fetched, worked on and updated), ``sets`` (one UPDATE a range) or
``whole`` (one UPDATE for all).

It is the best case on purpose: the processes are warm, and because the ids of the products have
no holes the ranges are known for nothing, where Breakbulk has to find them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time

import psutil
from sqlalchemy import ColumnElement, Engine, create_engine, update
from sqlalchemy.orm import Session

from bench import shop
from bench.cpu import Meter, postmaster

PROCESSES = 2
CHUNK_SIZE = 500
_engine: Engine


def _connect() -> None:
    global _engine  # noqa: PLW0603  (how a pool's processes keep what they need)
    _engine = create_engine(os.environ[shop.DATABASE])


def _warm(_number: int) -> None:
    with Session(_engine) as session:
        session.execute(shop.PRODUCTS.where(shop.Product.id < 0)).all()
        # Until everybody is here, or one process would be warmed twice.
        time.sleep(0.2)


def _chunk(after: int) -> None:
    here = shop.Product.id > after, shop.Product.id <= after + CHUNK_SIZE
    with Session(_engine) as session:
        shop.work(session, session.execute(shop.PRODUCTS.where(*here).order_by(shop.Product.id)))
        session.commit()


def _set(after: int) -> None:
    _update(shop.Product.id > after, shop.Product.id <= after + CHUNK_SIZE)


def _whole(_first: int) -> None:
    _update()


def _update(*here: ColumnElement[bool]) -> None:
    with Session(_engine) as session:
        session.execute(update(shop.Product).where(*here).values(shop.RATED))
        session.commit()


_WAYS = {"scores": _chunk, "sets": _set, "whole": _whole}


def main() -> None:
    """Work through all products and print the seconds it took, by the clock and of CPU."""
    rows, way = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "scores"
    firsts = range(0, rows, rows if way == "whole" else CHUNK_SIZE)
    server = postmaster(os.environ[shop.DATABASE])
    with multiprocessing.Pool(PROCESSES, _connect) as pool:
        pool.map(_warm, range(PROCESSES), chunksize=1)
        meter = Meter(psutil.Process(), server)
        began = time.monotonic()
        for _ in pool.imap_unordered(_WAYS[way], firsts, chunksize=8):
            pass
        seconds = time.monotonic() - began
        worker, database = meter.read()
    print(json.dumps({"seconds": seconds, "worker": worker, "database": database}))


if __name__ == "__main__":
    main()
