"""Who may use the dashboard: whoever the proxy in front has logged in.

The proxy checks passwords and ends TLS. It sends the user's name in ``X-Forwarded-User``, and in
``X-Proxy-Secret`` what only it and this process know, so that nobody else can be anybody. Give it
with ``breakbulk serve --access dashboard_access:access``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

from breakbulk.web import Access


def access(environ: Mapping[str, Any]) -> Access | None:
    """Let operators operate, and everybody else look who has logged in."""
    secret = os.environ.get("DASHBOARD_PROXY_SECRET", "")
    given = str(environ.get("HTTP_X_PROXY_SECRET", ""))
    user = str(environ.get("HTTP_X_FORWARDED_USER", ""))
    if not secret or not user or not secrets.compare_digest(given.encode(), secret.encode()):
        return None
    operators = os.environ.get("DASHBOARD_OPERATORS", "").split()
    return Access(user, {"operate"} if user in operators else {"view"})
