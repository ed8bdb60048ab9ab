"""A second PostgreSQL that follows the first: a hot standby, as a team has for its readers."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from breakbulk.embedded import EmbeddedPostgres
from breakbulk.embedded.account import reachable
from breakbulk.embedded.cluster import prepare
from breakbulk.embedded.process import clean_environment
from tests.support.servers import TEST_SETTINGS

if TYPE_CHECKING:
    from pathlib import Path


def standby_of(
    primary: EmbeddedPostgres, home: Path, target: Path, *, name: str
) -> EmbeddedPostgres:
    """A standby of a server that runs, not started yet.

    Args:
        home: the primary's directory.
        target: the standby's, which is made.
        name: what it calls itself where it is connected.
    """
    cluster, url = prepare(home), make_url(primary.url)
    there = reachable(target, cluster.account)
    data = there / "data"
    data.mkdir(mode=0o700)
    if cluster.account is not None:
        os.chown(data, cluster.account.uid, cluster.account.gid)
    # Both have the same roles, and so the same password.
    shutil.copy(home / "password", target / "password")
    login = f"host={url.host} port={url.port} user={url.username} application_name={name}"
    subprocess.run(
        [
            cluster.server.with_name("pg_basebackup"),
            f"--pgdata={data}",
            f"--dbname={login}",
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        ],
        cwd="/",
        env={**clean_environment(), "PGPASSWORD": cluster.password},
        stdin=subprocess.DEVNULL,
        user=cluster.account.uid if cluster.account else None,
        group=cluster.account.gid if cluster.account else None,
        extra_groups=[] if cluster.account else None,
        check=True,
    )
    return EmbeddedPostgres(target, settings={**TEST_SETTINGS, "wal_receiver_status_interval": "1"})
