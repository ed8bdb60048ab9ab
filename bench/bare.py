"""Bare connections that commit one single-row UPDATE after the other: the price of durability.

    python -m bench.bare COMMITS CONNECTIONS MODE

With the mode ``transaction`` each is BEGIN, UPDATE, COMMIT, as psycopg does by itself; with
``autocommit`` it is a single round trip.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.synchronize import Barrier

import psycopg
from sqlalchemy import make_url

from bench import shop

TABLE = "bare"


def _commit(number: int, commits: int, mode: str, ready: Barrier) -> None:
    url = make_url(os.environ[shop.DATABASE]).set(drivername="postgresql")
    with psycopg.connect(
        url.render_as_string(hide_password=False), autocommit=mode == "autocommit"
    ) as connection:
        connection.execute("SELECT 1")
        connection.commit()
        ready.wait()
        for key in range(number * commits, (number + 1) * commits):
            connection.execute(f"UPDATE {TABLE} SET changes = changes + 1 WHERE id = %s", [key])
            connection.commit()
    ready.wait()


def main() -> None:
    """Print the commits per second."""
    commits, connections, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    each = commits // connections
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(connections + 1)
    processes = [
        context.Process(target=_commit, args=(number, each, mode, ready))
        for number in range(connections)
    ]
    for process in processes:
        process.start()
    ready.wait()
    began = time.monotonic()
    ready.wait()
    seconds = time.monotonic() - began
    for process in processes:
        process.join()
    print(json.dumps(each * connections / seconds))


if __name__ == "__main__":
    main()
