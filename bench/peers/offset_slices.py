"""The article's way: the same chord, each part of which finds its slice by OFFSET.

The database reads all the rows in front of a slice to skip them, so the last slice costs as much
as the table is long. https://www.toptal.com/python/orchestrating-celery-python-background-jobs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from celery import chord
from sqlalchemy.orm import Session

from bench import shop
from bench.peers import celery_chord, work
from bench.peers.celery_chord import app, prepare
from bench.peers.peer import CHUNK_SIZE, WORKERS, About

ABOUT: About = replace(celery_chord.ABOUT, title="the same chord with the article's OFFSET slices")
__all__ = ("ABOUT", "app", "done", "prepare", "submit", "workers")


@app.task(name="slice")
def slice_(offset: int) -> None:
    """Fetch a slice, work on it, and update it."""
    query = shop.PRODUCTS.order_by(shop.Product.id).offset(offset).limit(CHUNK_SIZE)
    with Session(work.engine()) as session:
        shop.work(session, session.execute(query))
        session.commit()


def workers() -> Sequence[Sequence[str]]:
    """One worker with two processes."""
    options = ("--concurrency", str(WORKERS), "--loglevel", "WARNING")
    quiet = ("--without-mingle", "--without-gossip")
    return [work.python("celery", "-A", __name__, "worker", *options, *quiet)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Send a message for each slice."""
    if name != "score":
        celery_chord.submit(name, parts)
        return
    chord(slice_.si(offset) for offset in parts)(celery_chord.call_back.si())


done = work.called_back
