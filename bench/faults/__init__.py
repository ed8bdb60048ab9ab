"""The same faults for Breakbulk and for its peers, in one run, judged by the same plain SQL.

    make bench-faults                                  all of it, about an hour
    python -m bench faults --only frozen --only dbos   some faults, some systems

Each trial has a database of its own with 100,000 rows, a broker of its own, two workers with two
slots each under a supervisor, and one job: 200 chunks of 500 rows, ``version = version + 1``,
then a callback that writes one row. When about 50 chunks are done the fault strikes. What counts
afterwards is only what is in the tables: rows that were missed, rows that were done twice, how
often the callback was committed, and when.

`work` is the job's own code, the same for all; ``*_app`` is each system's application, configured
as its documentation recommends; `strikes` is the list of faults; `table` turns the outcomes into
Markdown.
"""
