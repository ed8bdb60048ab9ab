"""How ``terraform fmt`` lays out a file, as far as the files here need it.

Nothing that we can install has Terraform. What it does is simple: two spaces for each line that
opens brackets which it does not close, and equals signs below each other in lines that follow each
other and are whole in themselves (``hclwrite/format.go`` of HashiCorp's HCL).
"""

from __future__ import annotations

import re

_INDENT = "  "
#: Strings, with whatever is filled in inside them, and comments: their brackets count for nothing.
_QUOTED = re.compile(r'"(?:\\.|\$\{[^}]*\}|[^"\\])*"|(?:#|//).*')
_ASSIGNMENT = re.compile(r"(?P<name>[\w.-]+|\(.*?\)|\"[^\"]*\")\s*=(?![=>])\s*(?P<value>.*)")


def formatted(text: str) -> str:
    """The same, as Terraform would write it.

    Raises:
        ValueError: it holds something that we know nothing of, such as a heredoc.
    """
    if "<<" in text or "/*" in text:
        raise ValueError("neither heredocs nor /* comments */ are known here")
    lines = [line.strip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in _indented(_aligned(lines)))


def _indented(lines: list[str]) -> list[str]:
    """With two spaces for each line before that is still open."""
    found: list[str] = []
    opened: list[int] = []
    for line in lines:
        net = _net(line)
        if net < 0:
            _close(opened, -net)
        found.append(f"{_INDENT * len(opened)}{line}" if line else "")
        if net > 0:
            opened.append(net)
    return found


def _close(opened: list[int], count: int) -> None:
    while count > 0 and opened:
        if count < opened[-1]:
            opened[-1] -= count
            return
        count -= opened.pop()


def _aligned(lines: list[str]) -> list[str]:
    """With the equals signs of neighbours below each other."""
    found: list[str] = []
    chain: list[re.Match[str]] = []
    for line in [*lines, ""]:
        match = _ASSIGNMENT.fullmatch(line)
        if match is not None and _net(line) == 0:
            chain.append(match)
            continue
        longest = max((len(one["name"]) for one in chain), default=0)
        found += [f"{one['name']:{longest}} = {one['value']}" for one in chain]
        chain = []
        # What goes on in the next lines is nobody's neighbour.
        found.append(line if match is None else f"{match['name']} = {match['value']}")
    return found[:-1]


def _net(line: str) -> int:
    """How many brackets a line opens and does not close."""
    bare = _QUOTED.sub("", line)
    return sum(bare.count(one) for one in "([{") - sum(bare.count(one) for one in ")]}")
