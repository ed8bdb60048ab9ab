"""An application beside a job: short transactions that read and change hot rows, at a fixed rate.

``python -m bench.foreground TABLE ROWS SECONDS`` prints latencies in milliseconds as JSON. Each is
counted from when the transaction was due, so that one that waits for a lock does not hide how many
others would have come meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time

import psycopg
from sqlalchemy import make_url

from bench import shop

CONNECTIONS = 4
#: Transactions a second of each connection.
RATE = 40
#: So many rows are wanted again and again, spread evenly over the table.
HOT = 1_000


def main() -> None:
    """Work on all connections, and print what was measured."""
    table, rows, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    latencies: list[float] = []
    begin = time.monotonic() + 1.0
    threads = [
        threading.Thread(
            target=_work,
            args=(number, table, rows),
            kwargs={"begin": begin, "seconds": seconds, "latencies": latencies},
        )
        for number in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies.sort()
    print(
        json.dumps(
            {
                "transactions": len(latencies),
                "p50": _quantile(latencies, 0.50),
                "p99": _quantile(latencies, 0.99),
                "most": latencies[-1],
            }
        )
    )


def _work(
    number: int, table: str, rows: int, *, begin: float, seconds: float, latencies: list[float]
) -> None:
    # The same rows in every measurement.
    chance = random.Random(number)
    url = make_url(os.environ[shop.DATABASE]).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        for step in range(int(seconds * RATE)):
            due = begin + (step + number / CONNECTIONS) / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            row = chance.randrange(HOT) * (rows // HOT) + 1
            connection.execute(f"SELECT changes FROM {table} WHERE id = %s", [row])
            connection.execute(f"UPDATE {table} SET changes = changes + 1 WHERE id = %s", [row])
            connection.commit()
            latencies.append((time.monotonic() - due) * 1000)


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


if __name__ == "__main__":
    main()
