"""Finding the application that the command line is to work with."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from breakbulk.cli.refusal import Refusal
from breakbulk.console import exits
from breakbulk.errors import BreakbulkError, ConfigurationError

if TYPE_CHECKING:
    from breakbulk.app import Breakbulk

#: Where an application is looked for in a package that is given without a module.
_USUAL_MODULES = ("jobs", "breakbulk", "celery", "tasks")


class Application:
    """The user's application, imported when a verb first needs it.

    Args:
        target: what ``-A`` says.
        celery: the Celery application, when Celery's own command line has found it.
        command: how this command line was called, for hints about what to do next.
    """

    def __init__(
        self, target: str | None = None, *, celery: object = None, command: str = "breakbulk"
    ) -> None:
        self._target = target
        self._celery = celery
        self.command = command

    @cached_property
    def bulk(self) -> Breakbulk:
        """The Breakbulk of the application, with all its jobs.

        Raises:
            Refusal: no application was given, or there is none of that name.
            BreakbulkError: it cannot be imported.
        """
        if self._celery is not None:
            return _of_celery(self._celery)
        if not self._target:
            raise _usage(
                "Which application? Say -A shop.jobs:bulk, or set BREAKBULK_APP=shop.jobs:bulk;"
                " of a Pyramid application, -A development.ini."
            )
        here = os.getcwd()  # noqa: PTH109  (as it goes on sys.path)
        if here not in sys.path:
            sys.path.insert(0, here)
        bulk = _of_ini(self._target) if _is_ini(self._target) else _find(self._target)
        _imported(self._target, bulk.import_modules)
        return bulk

    @cached_property
    def ledger(self) -> Breakbulk:
        """The same, once its tables are known to be this version's.

        Raises:
            SchemaError: they are missing, too old or too new.
            LedgerUnreachable: the database does not answer.
        """
        self.bulk.check_schema()
        return self.bulk

    def celery_address(self) -> str | None:
        """The Celery application as ``celery -A`` finds it, MODULE:NAME; None where it cannot."""
        if self._target and _is_ini(self._target):
            # Its Celery application is made of settings, and found in a module of its own.
            return None
        celery = self.bulk.celery
        for name, module in sorted(sys.modules.items()):
            if name == "__main__" or celery is None:
                continue
            # Modules may be lazy, or no modules at all.
            for known, value in list(getattr(module, "__dict__", {}).items()):
                if value is celery and not known.startswith("_"):
                    return f"{name}:{known}"
        return None

    def close(self) -> None:
        """Close the connections, rather than let the database find out that they are gone."""
        if "bulk" in vars(self):
            for database in (self.bulk.runtime.database, self.bulk.runtime.data):
                database.dispose()

    def hint(self, *words: object) -> str:
        """A command line to go on with."""
        return " ".join([self.command, *map(str, words)])


def _is_ini(target: str) -> bool:
    # Without asking the add-on, whose room may not be there.
    return target.partition("#")[0].endswith(".ini")


def _of_ini(target: str) -> Breakbulk:
    """The Breakbulk of a Pyramid application."""
    try:
        from breakbulk.pyramid.ini import checked, load
    except ModuleNotFoundError as error:
        raise _usage(
            f"{target} is a Pyramid application's, and there is no {error.name} here:"
            " pip install 'breakbulk[web]'."
        ) from error
    try:
        checked(target)
    except ConfigurationError as error:
        raise _usage(str(error)) from error
    bulk: Breakbulk = _imported(target, lambda: load(target), verb="loaded")
    return bulk


def _of_celery(celery: Any) -> Breakbulk:
    from breakbulk.app import Breakbulk

    name = f"Celery application {celery.main or '-A'}"
    _imported(name, celery.loader.import_default_modules)
    bulk = Breakbulk.of(celery)
    if bulk is None:
        raise ConfigurationError(
            f"The {name} has no Breakbulk: write bulk = Breakbulk(database=…, celery=app) in"
            " one of its modules."
        )
    return bulk


def _find(target: str) -> Breakbulk:
    from breakbulk.app import Breakbulk

    module_name, _, path = target.partition(":")
    module = _module(module_name)
    if path:
        found: Any = module
        for name in path.split("."):
            found = getattr(found, name, None)
        bulk = found if isinstance(found, Breakbulk) else Breakbulk.of(found)
        if found is None or bulk is None:
            what = "is not a Breakbulk" if found is not None else "is not there"
            raise _usage(
                f"{target} {what}: say where your bulk = Breakbulk(…) is, as in -A shop.jobs:bulk."
            )
        return bulk
    places = _in(module)
    for name in _USUAL_MODULES if not places and hasattr(module, "__path__") else ():
        if find_spec(f"{module_name}.{name}") is not None:
            places |= _in(_module(f"{module_name}.{name}"))
    if len({id(bulk) for bulk in places.values()}) == 1:
        return next(iter(places.values()))
    if not places:
        raise _usage(
            f"There is no Breakbulk in {module_name}: say where your bulk = Breakbulk(…) is, as in"
            f" -A {module_name}.jobs:bulk."
        )
    raise _usage(f"There are several in {module_name}: say which of {', '.join(sorted(places))}.")


def _in(module: Any) -> dict[str, Breakbulk]:
    from breakbulk.app import Breakbulk

    values = {f"{module.__name__}:{name}": value for name, value in vars(module).items()}
    return {place: value for place, value in values.items() if isinstance(value, Breakbulk)}


def _module(name: str) -> Any:
    try:
        return _imported(name, lambda: import_module(name))
    except ModuleNotFoundError as error:
        raise _usage(
            f"There is no module {error.name!r} here: check -A and the directory you are in."
        ) from error


def _imported(name: str, load: Callable[[], Any], *, verb: str = "imported") -> Any:
    """Import the user's code; what it raises is told with the place that raised it."""
    try:
        return load()
    except BreakbulkError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise
        raise ConfigurationError(
            f"{name} cannot be {verb}: {type(error).__name__}: {_first_line(error)}"
            f" ({_place(error)})."
        ) from error


def _usage(sentence: str) -> Refusal:
    return Refusal(sentence, exits.USAGE)


def _first_line(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if type(error).__name__ == "ConfigurationConflictError":
        # Pyramid's: the places are what matters, and they are on the lines below.
        return " ".join(text.split()).rstrip(".")
    return text.strip().partition("\n")[0].rstrip(".")


def _place(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and "site-packages" not in frame.filename
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}"
