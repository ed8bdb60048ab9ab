"""The image of `deploy/Dockerfile`, carried out line by line, without a Docker engine.

In every run the last stage is, in a root with this machine's programs: the user that RUN makes, the
files that COPY brings, the wheel of this checkout in ``/opt/venv``, and CMD and HEALTHCHECK as that
user. ``make soak`` carries out every line, in roots that debootstrap makes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select

from tests.support.deployment import (
    DEPLOY,
    ROOT,
    as_list,
    command_of,
    documents,
    environment,
    instructions,
    last_stage,
)
from tests.support.roots import Root, borrowed, need_roots
from tests.support.servers import missing
from tests.support.waiting import wait_for

_IMAGE = instructions(DEPLOY / "Dockerfile")
_LAST = last_stage(_IMAGE)
_ENVIRONMENT = environment(_IMAGE)
_USER = int(dict(_LAST)["USER"])
_HOME = dict(_LAST)["WORKDIR"]
#: What a build has before the Dockerfile says otherwise.
_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
#: Certificates, whose own place a package writes to when it is installed.
_LENT = re.compile(r"/etc/ssl/(?:[\w.-]+/)*([\w.-]+)")
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


class Container:
    """A program in a root, as the user of the image, with the environment of the image."""

    def __init__(self, root: Root, given: dict[str, str], log: Path) -> None:
        self.root = root
        self.environment = {**_ENVIRONMENT, **given}
        self._log = log

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command to its end."""
        return self.root.run(arguments, self.environment, user=_USER, directory=_HOME)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command."""
        command = self.root.command(arguments, self.environment, user=_USER, directory=_HOME)
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def log(self) -> str:
        """What was said."""
        return self._log.read_text(errors="replace")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """The last stage, without its packages."""
    need_roots()
    made = borrowed(tmp_path_factory.mktemp("image"), Path(sys.base_prefix))
    _install(made, tmp_path_factory.mktemp("wheel"))
    for name, argument in _LAST:
        if name == "RUN" and not argument.startswith("apt-get"):
            code, said = made.run(["sh", "-ec", argument], _PATH)
            assert code == 0, said
        if name == "COPY" and not argument.startswith("--from"):
            _copy(made, argument)
    return made


def _install(root: Root, directory: Path) -> None:
    """What the first stage makes: the environment with the wheel, but with the tests' packages."""
    built = subprocess.run(
        [
            *(sys.executable, *_PIP, "wheel", "--no-deps", "--no-build-isolation"),
            *("-w", str(directory), str(ROOT)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = directory.glob("*.whl")
    python = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    root.lent["/opt/wheel"] = directory
    root.lent["/opt/dependencies"] = Path(sysconfig.get_path("purelib"))
    clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/opt/dependencies"}
    made = root.run([python, "-m", "venv", "--without-pip", "/opt/venv"], clean)
    assert made[0] == 0, made[1]
    pip = [*_PIP, "--python", "/opt/venv/bin/python", "install", "--no-deps", "--no-index"]
    done = root.run([python, *pip, f"/opt/wheel/{wheel.name}"], clean)
    assert done[0] == 0, done[1]
    venv = root.path / "opt" / "venv"
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("/opt/dependencies")
    celery = venv / "bin" / "celery"
    celery.write_text("#!/opt/venv/bin/python\nfrom celery.__main__ import main\nmain()\n")
    celery.chmod(0o755)


def _copy(root: Root, argument: str) -> None:
    *sources, target = argument.split()
    directory = root.path / target.strip("/")
    directory.mkdir(parents=True, exist_ok=True)
    for source in sources:
        here = ROOT / source
        if here.is_dir():
            shutil.copytree(here, directory, dirs_exist_ok=True)
        else:
            shutil.copy2(here, directory)


@pytest.fixture
def given(postgres_url: str, valkey_url: str, queue_name: str) -> dict[str, str]:
    """What the application is told."""
    return {
        "SHOP_DATABASE": postgres_url,
        "SHOP_BROKER": valkey_url,
        "SHOP_QUEUE": queue_name,
        "BREAKBULK_GRACE_SECONDS": "300",
    }


@pytest.fixture
def container(root: Root, given: dict[str, str], tmp_path: Path) -> Container:
    return Container(root, given, tmp_path / "log")


def _live_and_drain(container: Container, given: dict[str, str]) -> None:
    """Upgrade, work, answer the probe, and drain."""
    for command in (_upgrade_command(), ["python", "shop.py"]):
        code, said = container.run(*command)
        assert code == 0, said
    worker = container.start(*command_of(_IMAGE))
    try:
        wait_for(
            lambda: " ready." in container.log() or worker.poll() is not None,
            message="the worker to be ready",
        )
        assert worker.poll() is None, container.log()
        assert _owner(worker.pid) == _USER
        probe = as_list(dict(_LAST)["HEALTHCHECK"])
        code, said = container.run(*probe)
        assert (code, said[:16]) == (0, "The worker lives")
        code, said = container.run(
            "breakbulk", "run", "ProcessWarehouse", "-p", "rate=2", "--watch"
        )
        assert code == 0, said
        worker.terminate()
        assert worker.wait(timeout=60) == 0
        assert container.run(*probe)[0] == 1
    finally:
        worker.kill()
        worker.wait()
    assert _versions(given) == [(1, 1000)]


def _upgrade_command() -> list[str]:
    """What makes the tables: of the Compose file, and Kubernetes does the same."""
    (compose,) = documents(DEPLOY / "compose.yaml")
    (job,) = documents(DEPLOY / "kubernetes" / "upgrade.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command: list[str] = compose["services"]["upgrade"]["command"]
    assert container["command"] == command
    return command


def _owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _versions(given: dict[str, str]) -> list[tuple[int, int]]:
    """How many products were processed how often."""
    from sqlalchemy import column, table

    products = table("products", column("version"))
    engine = create_engine(given["SHOP_DATABASE"])
    with engine.connect() as connection:
        query = select(products.c.version, func.count()).group_by(products.c.version)
        found = [(row[0], row[1]) for row in connection.execute(query)]
    engine.dispose()
    return found


@pytest.mark.thorough
def test_a_worker_of_the_image_works_and_drains(
    container: Container, given: dict[str, str]
) -> None:
    _live_and_drain(container, given)


def test_the_image_lets_nobody_change_it(container: Container) -> None:
    for path in ("/opt/venv/x", "/srv/app/x", "/etc/x"):
        code, said = container.run("sh", "-c", f": >{path}")
        assert code != 0
        assert "Permission denied" in said or "Read-only" in said
    assert container.run("sh", "-c", "id -u && : >/run/worker/x && rm /run/worker/x") == (
        0,
        f"{_USER}\n",
    )


def _web_command() -> list[str]:
    """What serves the dashboard: in the Compose file, and Kubernetes does the same."""
    (compose,) = documents(DEPLOY / "compose.yaml")
    web, _ = documents(DEPLOY / "kubernetes" / "web.yaml")
    (container,) = web["spec"]["template"]["spec"]["containers"]
    command: list[str] = compose["services"]["web"]["command"]
    assert container["args"] == command
    return command


@pytest.mark.thorough
def test_the_dashboard_lets_in_whom_the_proxy_has_logged_in(container: Container) -> None:
    code, said = container.run("breakbulk", "db", "upgrade")
    assert code == 0, said
    container.environment |= {"DASHBOARD_PROXY_SECRET": "between us", "DASHBOARD_OPERATORS": "ana"}
    # Any port of this machine, so that tests can run beside each other.
    own = [{"8440": "0", "0.0.0.0": "127.0.0.1"}.get(word, word) for word in _web_command()]  # noqa: S104
    server = container.start(*own)
    try:
        url = wait_for(lambda: _url(container.log()), message="the dashboard to listen")
        assert url is not None
        assert _status(url) == "401"
        assert _status(url, "X-Forwarded-User: ana") == "401"
        assert _status(url, "X-Forwarded-User: ana", "X-Proxy-Secret: guessed") == "401"
        assert _status(url, "X-Forwarded-User: ana", "X-Proxy-Secret: between us") == "200"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _url(log: str) -> str | None:
    found = re.search(r"Open (http://\S+)", log)
    return None if found is None else found[1]


def _status(url: str, *headers: str) -> str:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    given = dict(header.split(": ", 1) for header in headers)
    try:
        with urlopen(Request(url, headers=given), timeout=30) as answer:  # noqa: S310
            return str(answer.status)
    except HTTPError as refusal:
        with refusal:
            return str(refusal.code)


@pytest.mark.soak
def test_every_line_of_the_dockerfile(
    given: dict[str, str], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """With debootstrap for FROM, and packages and wheels from wherever this machine has them."""
    need_roots()
    if shutil.which("debootstrap") is None:
        missing(
            "chroot", "there is no program debootstrap; Debian has it in the package of its name."
        )
    directory = tmp_path_factory.mktemp("stages")
    suite = re.match(r"debian:(\w+)-slim", dict(_LAST)["FROM"])
    assert suite is not None
    bare = directory / "bare"
    base = ["debootstrap", "--variant=minbase", suite[1], str(bare)]
    made = subprocess.run(base, capture_output=True, text=True, timeout=1200, check=False)
    assert made.returncode == 0, made.stdout[-2000:]
    stage = _stages(bare, directory)
    container = Container(stage, given, tmp_path / "log")
    _live_and_drain(container, given)


def _stages(bare: Path, directory: Path) -> Root:
    """Carry out every RUN and COPY; the last stage."""
    stages: dict[str, Root] = {}
    current = Root(bare)
    for name, argument in _IMAGE:
        if name == "FROM":
            path = directory / f"stage{len(stages)}"
            subprocess.run(["cp", "-a", str(bare), str(path)], check=True)
            current = Root(path, _packages_of_this_machine())
            stages[argument.partition(" AS ")[2]] = current
        elif name == "COPY" and argument.startswith("--from="):
            source, there, target = argument.removeprefix("--from=").split()
            (current.path / target.strip("/")).parent.mkdir(parents=True, exist_ok=True)
            place = stages[source].path / there.strip("/")
            copied = ["cp", "-a", str(place), str(current.path / target.strip("/"))]
            subprocess.run(copied, check=True)
        elif name == "COPY":
            _copy(current, argument)
        elif name == "RUN":
            code, said = current.run(["sh", "-ec", argument], _PATH | _proxies(), timeout=1200)
            assert code == 0, f"{argument}\n{said[-3000:]}"
    current.lent.clear()
    return current


def _packages_of_this_machine() -> dict[str, Path]:
    """How pip and apt come to their packages here: their configuration, and what it points to."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    # An index of files names those beside it.
    indexes = [Path(one).parent for one in re.findall(r"file://(/[\w./-]+)", told)]
    paths = [Path(one) for one in re.findall(r"[\s'=](/[\w./-]+)", told)]
    given = [Path("/etc/resolv.conf"), Path("/etc/pip.conf"), *indexes, *paths]
    return {_LENT.sub(r"/lent/\1", str(one)): one.resolve() for one in given if one.exists()}


def _proxies() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    for line in told.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2].replace("-", "_").upper()
        kept.setdefault(f"PIP_{option}", " ".join(shlex.split(value)))
    kept = {name: _LENT.sub(r"/lent/\1", value) for name, value in kept.items()}
    names = ("http_proxy", "https_proxy", "no_proxy")
    return kept | {name: os.environ[name] for name in names if name in os.environ}
