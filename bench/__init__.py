"""Measurements that show whether Breakbulk costs what it promises, on the machine at hand.

    python -m bench                       all of them, on embedded servers
    python -m bench real noop --pairs 5   some of them, with more repetitions
    python -m bench --json figures.json   and the figures for a program, and a page
    python -m bench peers                 the same work by others; see bench/peers
    python -m bench faults                the same faults for others; see bench/faults

Every figure is a ratio to something simple that is measured beside it in the same run, because
machines differ and one machine differs from minute to minute. Nothing here is a test: a busy
machine misses a target without any fault of the code. What can be counted instead of timed is
held by ``tests/integration/test_budget.py``.

Environment:
    BREAKBULK_BENCH_POSTGRES   URL of a PostgreSQL server on this machine on which databases may
        be created; default the embedded one. CPU time is read from its processes, so nobody else
        should be using it.
    BREAKBULK_BENCH_REDIS      URL of a Redis or Valkey database that may be emptied.
    BREAKBULK_CATALOGUE        a gzipped table of packages with the columns ``name``, ``version``
        and ``month``; default the sample that is shipped, repeated.
"""
