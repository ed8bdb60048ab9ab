"""Loading a Pyramid application from its ``.ini``, for the command line and the worker."""

from __future__ import annotations

from pathlib import Path

import plaster
from pyramid.config import global_registries
from pyramid.paster import get_app

from breakbulk.app import Breakbulk
from breakbulk.errors import ConfigurationError

_SUFFIX = ".ini"
#: What PasteDeploy takes for an application.
_KINDS = ("app", "application", "composite", "composit", "pipeline", "filter-app")


def is_ini(target: str) -> bool:
    """Whether this names an ``.ini`` rather than a module."""
    return target.partition("#")[0].endswith(_SUFFIX)


def checked(target: str | None) -> str:
    """The address of an application, if there is one of that name.

    Args:
        target: ``development.ini``, or ``development.ini#shop`` for ``[app:shop]``.

    Raises:
        ConfigurationError: it names no ``.ini``, or there is no such file or section.
    """
    if not target or not is_ini(target):
        found = f", and {target} is none" if target else ""
        raise ConfigurationError(
            f"Which .ini is the application's{found}? Say --ini development.ini, or set"
            " BREAKBULK_APP=development.ini."
        )
    name, _, section = target.partition("#")
    path = Path(name).resolve()
    if not path.is_file():
        raise ConfigurationError(f"There is no file {name} here: check its name and where you are.")
    section = section or "main"
    try:
        there = plaster.get_loader(str(path), protocols=["wsgi"]).get_sections()
    except plaster.LoaderNotFound as error:
        raise ConfigurationError(
            f"Nothing here can read {name}: install plaster_pastedeploy, as pserve needs it, too."
        ) from error
    if not {section, *(f"{kind}:{section}" for kind in _KINDS)} & set(there):
        apps = [f"[{one}]" for one in there if one.partition(":")[0] in _KINDS]
        has = f"it has {', '.join(apps)}" if apps else "it has no application at all"
        raise ConfigurationError(f"{name} has no section [app:{section}]: {has}.")
    return f"{path}#{section}"


def load(target: str | None) -> Breakbulk:
    """Load the application; its Breakbulk.

    Raises:
        ConfigurationError: there is none of that name, or it does not include Breakbulk.
        Exception: whatever the application raises while it is made.
    """
    address = checked(target)
    before = global_registries.last
    app = get_app(address, options={"__script__": "breakbulk"})
    # Behind a pipeline it is the one that was made last.
    registry = getattr(app, "registry", None) or global_registries.last
    bulk = None if registry is None or registry is before else registry.get("breakbulk")
    if not isinstance(bulk, Breakbulk):
        raise ConfigurationError(
            f"The application of {target} does not include Breakbulk: add breakbulk to its"
            ' pyramid.includes, or call config.include("breakbulk").'
        )
    bulk.address = address
    return bulk
