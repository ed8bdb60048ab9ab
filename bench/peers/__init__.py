"""The same work done by Breakbulk, by a hand-written loop and by what else a team might take.

    python -m bench peers                          all of it, about an hour
    python -m bench peers --quick                  everything once, over a few chunks
    python -m bench peers --only rq --only huey    some of them, beside Breakbulk and the loop

Every contestant gets the same function, the same table, the same key ranges of 500 rows and two
worker processes, and is set up as its own documentation recommends for throughput: its settings
are in its module, each with its source. After each run plain SQL counts what was done; a run in
which not every row was done once has no time.
"""
