"""A TCP proxy in front of a server, which does to connections what networks do to them.

It runs in a thread of the test's process. Of PostgreSQL's protocol it knows one message, COMMIT as
it is sent by psycopg: https://www.postgresql.org/docs/current/protocol-message-formats.html.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self, TypeVar

from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

T = TypeVar("T")

#: Alone, and behind a chunk's mark in one message.
_COMMITS = (b"Q\x00\x00\x00\x0bCOMMIT\x00", b";COMMIT\x00")
_AT_ONCE = 65536
_RESET = struct.pack("ii", 1, 0)
_LOOPBACK = "127.0.0.1"


class Fate(Enum):
    """What becomes of a COMMIT whose sender loses his connection."""

    DONE = "the server does it, and its answer is lost"
    LOST = "it never arrives"
    LATE = "the server gets it when the sender has given up already"


@dataclass
class Ambush:
    """Where the next COMMIT is waited for.

    Attributes:
        of: what else was said in its transaction.
        caught: the COMMIT came, and its sender has lost his connection.
        over: the server has got it, or never will.
        release: for one that is to be late: let the server have it now.
    """

    fate: Fate
    of: bytes
    caught: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Listens on a port of its own, in front of the server of a URL.

    Args:
        url: of PostgreSQL or a broker.
        host: the address to listen on.
    """

    def __init__(self, url: str, *, host: str = _LOOPBACK) -> None:
        self._target = make_url(url)
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._ambushes: list[Ambush] = []
        #: Set as long as the network carries anything.
        self._open = asyncio.Event()
        self._delay = 0.0
        self._port = 0
        #: Connections that were made so far.
        self.connections = 0

    @property
    def url(self) -> str:
        """The server's URL by way of the proxy."""
        url = self._target.set(host=self._host, port=self._port)
        return url.render_as_string(hide_password=False)

    def up(self) -> None:
        """Take connections, on the same port each time."""
        self._do(self._listen())

    def down(self) -> None:
        """Refuse connections, and cut those that there are."""
        self._do(self._close_door())
        self.cut()

    def cut(self) -> int:
        """Reset all connections, as a firewall does that has forgotten them; how many."""
        return self._do(self._cut())

    def blackhole(self) -> None:
        """Carry nothing any more, and tell nobody: no FIN, no RST."""
        self._do(self._set(carries=False))

    def heal(self) -> None:
        """Carry everything again, what was held up meanwhile first."""
        self._do(self._set(carries=True))

    def delay(self, seconds: float) -> None:
        """Hold everything up for so long."""
        self._delay = seconds

    def ambush(self, fate: Fate, *, of: bytes = b"") -> Ambush:
        """Wait for the next COMMIT of a transaction in which this was said, and cut it off."""
        laid = Ambush(fate, of)
        self._ambushes.append(laid)
        return laid

    def close(self) -> None:
        """Let go of everything."""
        for ambush in self._ambushes:
            ambush.release.set()
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        self.up()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def sprung(self, said: bytes) -> Ambush | None:
        """The ambush that a COMMIT runs into, after this was said in its transaction."""
        for ambush in self._ambushes:
            if ambush.of in said:
                self._ambushes.remove(ambush)
                return ambush
        return None

    async def pass_on(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Carry data, when the network does."""
        if self._delay:
            await asyncio.sleep(self._delay)
        await self._open.wait()
        writer.write(data)
        await writer.drain()

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def _close_door(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _set(self, *, carries: bool) -> None:
        if carries:
            self._open.set()
        else:
            self._open.clear()

    async def _cut(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.cut()
        return len(pairs)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._open.wait()
        try:
            server = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(self, (reader, writer), server)
        self._pairs.add(pair)
        try:
            with contextlib.suppress(OSError):
                await pair.carry()
        finally:
            self._pairs.discard(pair)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pair:
    """A client's connection and the one to the server."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self._said = bytearray()
        self._withheld = b""

    def cut(self) -> None:
        """Reset both."""
        _reset(self._client[1])
        _reset(self._server[1])

    async def carry(self) -> None:
        """Carry both ways until one side ends, or a COMMIT falls into an ambush."""
        there, back = asyncio.ensure_future(self._there()), asyncio.ensure_future(self._back())
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        ends = there.done(), back.done()
        there.cancel()
        back.cancel()
        caught, _ = await asyncio.gather(there, back, return_exceptions=True)
        if ends[0] and isinstance(caught, Ambush):
            await self._fall_into(caught)
        for _reader, writer in (self._client, self._server):
            writer.close()

    async def _back(self) -> None:
        while data := await self._server[0].read(_AT_ONCE):
            await self._proxy.pass_on(self._client[1], data)
        await self._proxy.pass_on(self._client[1], b"")

    async def _there(self) -> Ambush | None:
        while data := await self._client[0].read(_AT_ONCE):
            self._said += data
            if any(commit in data for commit in _COMMITS):
                ambush = self._proxy.sprung(bytes(self._said))
                if ambush is not None:
                    self._withheld = data
                    return ambush
                self._said.clear()
            await self._proxy.pass_on(self._server[1], data)
        await self._proxy.pass_on(self._server[1], b"")
        return None

    async def _fall_into(self, ambush: Ambush) -> None:
        answers, server = self._server
        if ambush.fate is not Fate.DONE:
            _reset(self._client[1])
            ambush.caught.set()
        if ambush.fate is Fate.LATE:
            await asyncio.to_thread(ambush.release.wait)
        if ambush.fate is not Fate.LOST:
            server.write(self._withheld)
            await answers.read(_AT_ONCE)
        else:
            _reset(server)
        ambush.over.set()
        if ambush.fate is Fate.DONE:
            _reset(self._client[1])
            ambush.caught.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    end: socket.socket | None = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
