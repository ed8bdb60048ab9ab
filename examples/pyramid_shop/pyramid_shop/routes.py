"""Which URL is what."""

from pyramid.config import Configurator


def includeme(config: Configurator) -> None:
    """Add the routes."""
    config.add_static_view("static", "pyramid_shop:static", cache_max_age=3600)
    config.add_route("home", "/")
    config.add_route("login", "/login")
    config.add_route("logout", "/logout")
    config.add_route("live", "/live")
    config.add_route("process", "/warehouses/{id:\\d+}/process")
    config.add_route("run", "/runs/{id:\\d+}")
