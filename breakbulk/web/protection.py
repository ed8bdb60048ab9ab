"""What every answer carries, and what every change must bring along.

* A Content-Security-Policy without any ``unsafe-``: no inline script, no inline style, nothing from
  elsewhere. Text that came from rows, exceptions or parameters cannot become code.
* A change is a POST that brings the token of its browser and does not come from another site. The
  token is a cookie sent back in the form (double submit); ``Sec-Fetch-Site`` is what browsers since
  2020 say by themselves, ``Origin`` what older ones do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPForbidden, HTTPRequestEntityTooLarge
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

_COOKIE = "breakbulk_csrf"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'self'; base-uri 'none';"
    # Pico draws its arrows and ticks with data: images.
    " img-src 'self' data:"
)
#: Of every answer.
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_NOT_TEXT = "The address or a cookie is not written in UTF-8, so it cannot be read.\n"
#: More than any form of ours has, in bytes.
MOST_BODY = 64 * 1024
TOO_LARGE = f"A request has at most {MOST_BODY:,} bytes, and this one has more."

Handler = Callable[[Request], Response]


def tween(handler: Handler, _registry: Registry) -> Handler:
    """Put the headers on every answer, and give each browser its token."""

    def protect(request: Request) -> Response:
        response = handler(request) if _is_text(request) else Response(_NOT_TEXT, status=400)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        fresh = request.environ.get(_COOKIE)
        if fresh is not None:
            response.set_cookie(
                _COOKIE,
                fresh,
                path=request.script_name or "/",
                httponly=True,
                secure=request.scheme == "https",
                samesite="Strict",
            )
        return response

    return protect


def _is_text(request: Request) -> bool:
    """Whether what pages look at can be read; the API has its own way to say that it cannot."""
    if request.environ["PATH_INFO"].startswith("/api/"):
        return True
    try:
        request.path_info, request.GET, request.cookies.get(_COOKIE)
    except UnicodeDecodeError:
        return False
    return True


def limit_body(event: NewRequest) -> None:
    """Read nothing that is larger than any form of ours: a host's server may be more patient.

    Raises:
        HTTPRequestEntityTooLarge: it is, or says that it is.
    """
    request: Request = event.request
    if (request.content_length or 0) > MOST_BODY:
        raise _too_large()
    if request.content_length is None and request.is_body_readable:
        # In pieces, and nobody has said how many.
        body = request.body_file.read(MOST_BODY + 1)
        if len(body) > MOST_BODY:
            raise _too_large()
        request.body = body


def _too_large() -> HTTPRequestEntityTooLarge:
    return HTTPRequestEntityTooLarge(TOO_LARGE)


def token(request: Request) -> str:
    """The browser's token, to be put into each form; drawn at its first visit."""
    known: str | None = request.cookies.get(_COOKIE) or request.environ.get(_COOKIE)
    if known is None:
        known = request.environ[_COOKIE] = secrets.token_urlsafe(32)
    return known


def check(request: Request) -> None:
    """Make sure that a change was meant by whoever sits at the browser.

    Raises:
        HTTPForbidden: it comes from another site, or brings no token.
    """
    check_site(request)
    kept, sent = request.cookies.get(_COOKIE, ""), request.POST.get("csrf_token", "")
    if not kept or not secrets.compare_digest(_bytes(kept), _bytes(str(sent))):
        raise HTTPForbidden(
            "This form is no longer valid: go back, load the page again, and try once more."
        )


def check_site(request: Request) -> None:
    """Make sure that a change was not asked for by another site.

    Raises:
        HTTPForbidden: it was.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        raise HTTPForbidden("This change was asked for by another site, so it was not made.")
    origin = request.headers.get("Origin")
    if site is None and origin is not None and origin != request.host_url:
        raise HTTPForbidden("This change was asked for by another site, so it was not made.")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
