"""The dashboard: pages on which runs are started, watched and steered.

It is a WSGI application of its own, so it mounts into any host; see :func:`make_wsgi_app`. A
Pyramid application includes it: ``config.include("breakbulk.web")``.
"""

from __future__ import annotations

from breakbulk.web.access import Access, AccessPolicy, LoginLink
from breakbulk.web.application import make_wsgi_app
from breakbulk.web.include import includeme

__all__ = ["Access", "AccessPolicy", "LoginLink", "includeme", "make_wsgi_app"]
