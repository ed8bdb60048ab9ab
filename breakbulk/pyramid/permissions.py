"""Who may look and who may operate: the host's own security policy says.

The add-on asks nobody by itself when application code submits or steers a run: a view that does so
has its own ``permission=``, and a customer who presses a button need not be an operator. These are
for pages that show and steer any run.
"""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPForbidden
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request

#: To see runs, their progress and their failures.
VIEW = "breakbulk.view"
#: To pause, resume, cancel, retry and start them.
OPERATE = "breakbulk.operate"


def may(request: Request, permission: str, context: Any = None) -> bool:
    """Whether whoever sends this request has a permission.

    Nobody has any where there is no security policy: Pyramid would then allow everybody everything.

    Args:
        context: the resource that is asked about; default the request's own.
    """
    if request.registry.queryUtility(ISecurityPolicy) is None:
        return False
    return bool(request.has_permission(permission, context))


def require(request: Request, permission: str, context: Any = None) -> None:
    """Let nobody pass who has not the permission.

    Raises:
        HTTPForbidden: he has not; the host's forbidden view answers.
    """
    if not may(request, permission, context):
        raise HTTPForbidden(f"This needs the permission {permission}.")
