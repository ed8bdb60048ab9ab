"""Stands between the workers and PostgreSQL, and lets a COMMIT's answer never arrive.

A session that executes ``SELECT 'the next commit is that of process 123'`` (see `traps`) has its
next COMMIT watched: the server executes it, then something is done to the process, or to nobody,
and both ends of the connection are cut before the answer is passed on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import make_url

from bench.faults.traps import MARK

_HEAD = 5
_CHUNK = 65536


class Proxy:
    """A proxy for one server.

    Args:
        url: the database behind it.
        at_commit: called with the process id right after a marked COMMIT was executed.
    """

    def __init__(self, url: str, at_commit: Callable[[int], object]) -> None:
        self._target = make_url(url)
        self._at_commit = at_commit
        self._port = 0
        self._open: set[StreamWriter] = set()
        self.struck: float | None = None
        """When it was called, in seconds since the epoch."""

    @property
    def url(self) -> str:
        """The database, by way of the proxy."""
        return self._target.set(host="127.0.0.1", port=self._port).render_as_string(
            hide_password=False
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve in a thread."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._end(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(
                self._target.host, self._target.port
            )
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, up_writer}
        ways = (self._requests(reader, up_writer), self._answers(up_reader, writer))
        tasks = [asyncio.ensure_future(way) for way in ways]
        # Whichever end is the first to go takes the other one along.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, up_writer):
            one.transport.abort()
        await asyncio.gather(*tasks)
        self._open -= {writer, up_writer}

    async def _requests(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()

    async def _answers(self, reader: StreamReader, writer: StreamWriter) -> None:
        mark = MARK.encode()
        watched: int | None = None
        waiting = b""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                waiting += data
                passed = 0
                for start, end in _messages(waiting):
                    kind, body = waiting[start : start + 1], waiting[start + _HEAD : end]
                    if kind == b"D" and mark in body:
                        watched = int(body.partition(mark)[2])
                    elif kind == b"C" and body == b"COMMIT\0" and watched is not None:
                        self.struck = time.time()
                        self._at_commit(watched)
                        return
                    elif kind == b"C" and body == b"ROLLBACK\0":
                        watched = None
                    passed = end
                writer.write(waiting[:passed])
                await writer.drain()
                waiting = waiting[passed:]


def _messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each whole message of the server begins and ends."""
    start = 0
    while start + _HEAD <= len(data):
        end = start + 1 + int.from_bytes(data[start + 1 : start + _HEAD], "big")
        if end > len(data):
            return
        yield start, end
        start = end
