"""What starts work is not to be started by a link on somebody else's page."""

from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy


def includeme(config: Configurator) -> None:
    """Ask for a token with every POST."""
    config.set_csrf_storage_policy(CookieCSRFStoragePolicy(httponly=True, samesite="Lax"))
    config.set_default_csrf_options(require_csrf=True)
