"""Who may look, and who may steer.

The dashboard knows no users of its own. The host says who is there: a policy is called with the
WSGI environment of each request. Without a policy nobody is let in, so a dashboard that was
mounted in a hurry is closed, not open.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from webob.cookies import RequestCookies

VIEW = "view"
OPERATE = "operate"
_RIGHTS = frozenset({VIEW, OPERATE})


@dataclass(frozen=True)
class Access:
    """What somebody may do.

    Attributes:
        user: shown to other operators beside what he did.
        can: ``view`` to look, ``operate`` to start, pause, cancel and retry, too.

    Raises:
        ValueError: ``can`` holds something else.
    """

    user: str
    can: frozenset[str] = frozenset({VIEW})

    def __init__(self, user: str, can: Iterable[str] = (VIEW,)) -> None:
        rights = frozenset([can] if isinstance(can, str) else can)
        if unknown := rights - _RIGHTS:
            raise ValueError(f"There is no right {min(unknown)!r}: give 'view', 'operate' or both.")
        object.__setattr__(self, "user", user)
        object.__setattr__(self, "can", rights | {VIEW} if OPERATE in rights else rights)

    @property
    def may_view(self) -> bool:
        """Whether he may look."""
        return VIEW in self.can

    @property
    def may_operate(self) -> bool:
        """Whether he may steer."""
        return OPERATE in self.can


#: Says who a request comes from; None: nobody that is let in.
AccessPolicy = Callable[[Mapping[str, Any]], Access | None]


@dataclass
class LoginLink:
    """A policy for one person at one machine: whoever has the link that the server printed.

    Each link lets in one browser, once; the next one is printed when it has been used.

    Attributes:
        user: whose name goes on what is done.
        announce: called with each new token.
    """

    user: str
    announce: Callable[[str], None]
    _token: str = field(default="", init=False)
    _sessions: set[str] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @staticmethod
    def cookie_of(environ: Mapping[str, Any]) -> str:
        """The name of the cookie: two servers on one machine do not log each other's users out."""
        return f"breakbulk_session_{environ['SERVER_PORT']}"

    def renew(self) -> None:
        """Make a new token and announce it."""
        self._token = secrets.token_urlsafe(24)
        self.announce(self._token)

    def redeem(self, token: str) -> str | None:
        """A new session for the right token, which is void from then on; None for any other."""
        with self._lock:
            if not self._token or not secrets.compare_digest(
                token.encode(errors="surrogatepass"), self._token.encode()
            ):
                return None
            session = secrets.token_urlsafe(32)
            self._sessions.add(session)
            self.renew()
        return session

    def __call__(self, environ: Mapping[str, Any]) -> Access | None:
        """Everything for whoever has a session."""
        try:
            # Cookies of a host are those of all its ports: what others have set may be anything.
            session = RequestCookies(dict(environ)).get(self.cookie_of(environ))
        except UnicodeDecodeError:
            return None
        if session not in self._sessions:
            return None
        return Access(self.user, {VIEW, OPERATE})
