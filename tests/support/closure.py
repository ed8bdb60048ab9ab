"""What a distribution brings along when it is installed, and nothing else that is here."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(requirement: str) -> dict[str, Distribution]:
    """Everything that a requirement needs, itself included, by its name.

    Raises:
        PackageNotFoundError: something of that is not installed here.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    ahead = [Requirement(requirement)]
    while ahead:
        wanted = ahead.pop()
        name = canonicalize_name(wanted.name)
        new = {(name, extra) for extra in ("", *wanted.extras)} - seen
        seen |= new
        if not new:
            continue
        found[name] = distribution(wanted.name)
        for extra in {extra for _, extra in new}:
            for text in found[name].requires or ():
                needed = Requirement(text)
                if needed.marker is None:
                    if not extra:
                        ahead.append(needed)
                elif needed.marker.evaluate({"extra": extra}):
                    ahead.append(needed)
    return found


def lend(distributions: dict[str, Distribution], directory: Path) -> None:
    """Let these be importable from a directory, and nothing that lies beside them."""
    for one in distributions.values():
        home = Path(str(one.locate_file("")))
        for name in {file.parts[0] for file in one.files or ()}:
            # Programs lie elsewhere; and parts of one package may come from several distributions.
            if name not in {"..", "__pycache__"} and not (directory / name).exists():
                (directory / name).symlink_to(home / name)
