"""``alembic revision --autogenerate`` in the example application, with the env.py of the how-to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import alembic
import pytest

_ROOT = Path(__file__).parents[2]
_HOW_TO = _ROOT / "docs" / "how-to" / "alembic-autogenerate.md"
_TEMPLATE = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
_OUR_LINE = "            include_name=bulk.include_name,\n"
_INI = "[alembic]\nscript_location = migrations\nprepend_sys_path = .\npath_separator = os\n"


def _environment(*, ours: bool, schemas: bool) -> str:
    """The how-to's ``env.py``, with our line in it or without."""
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", _HOW_TO.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert _OUR_LINE in program
    program = program if ours else program.replace(_OUR_LINE, "")
    if schemas:
        target = "target_metadata=Base.metadata,"
        program = program.replace(target, f"{target} include_schemas=True,")
    return f"{program}\n\nrun_migrations_online()\n"


@pytest.mark.parametrize(
    ("database", "cases"),
    [
        ("postgres", {"as it is": (False, False, True), "all schemas": (True, True, True)}),
        # Without the line it is not empty: so much for what this test can see.
        pytest.param(
            "sqlite",
            {"as the how-to": (True, False, True), "without": (False, False, False)},
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_autogenerate_stays_empty(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database: str,
    cases: dict[str, tuple[bool, bool, bool]],
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_DATABASE": request.getfixturevalue(f"{database}_url"),
        "SHOP_BROKER": "memory://",
    }

    def run(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    shutil.copy(_ROOT / "examples" / "one_file" / "shop.py", tmp_path)
    (tmp_path / "alembic.ini").write_text(_INI)
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    shutil.copy(_TEMPLATE, tmp_path / "migrations")
    run("shop.py")
    run("-m", "breakbulk", "-A", "shop:bulk", "db", "upgrade")
    for name, (ours, schemas, empty) in cases.items():
        (tmp_path / "migrations" / "env.py").write_text(_environment(ours=ours, schemas=schemas))
        run("-m", "alembic", "revision", "--autogenerate", "-m", name)
        (revision,) = versions.glob("*.py")
        assert ("op." not in revision.read_text("utf-8")) == empty, name
        revision.unlink()
