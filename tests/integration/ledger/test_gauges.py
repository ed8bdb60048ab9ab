"""How far replicas are behind: what PostgreSQL says of them, and what that means for a run."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from breakbulk.embedded import EmbeddedPostgres, scratch_directory
from breakbulk.ledger import Database
from breakbulk.ledger.gauges import Gauges
from breakbulk.runner.throttling import Throttling
from tests.support.servers import TEST_SETTINGS
from tests.support.standby import standby_of
from tests.support.waiting import wait_for
from tests.support.yard import Yard, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from breakbulk.domain.throttling import Reading

_MOST = 10.0


@pytest.fixture
def session(postgres_ground: Engine) -> Iterator[Connection]:
    """A session that sees the replicas of a test: what is temporary comes before the catalogue."""
    with postgres_ground.connect() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE pg_stat_replication"
            " (application_name text, client_addr inet, state text, replay_lag interval)"
        )
        connection.commit()
        yield connection
        connection.rollback()
        connection.exec_driver_sql("DROP TABLE pg_temp.pg_stat_replication")
        connection.commit()


def replica(
    session: Connection,
    name: str | None = "db2",
    lag: float | None = None,
    *,
    state: str | None = "streaming",
    address: str | None = None,
) -> None:
    """Connect a replica that is so many seconds behind."""
    session.execute(
        text(
            "INSERT INTO pg_stat_replication"
            " VALUES (:name, CAST(:address AS inet), :state, make_interval(secs => :lag))"
        ),
        {"name": name, "address": address, "state": state, "lag": lag},
    )
    session.commit()


def no_replica(session: Connection) -> None:
    session.execute(text("DELETE FROM pg_stat_replication"))
    session.commit()


def lag_of(session: Connection, at_most: float = _MOST) -> Reading:
    return Gauges(Database(session.engine), session).replica_lag(at_most)


@pytest.mark.parametrize(
    ("lag", "value", "over", "calm"),
    [
        (12.44, 12.44, True, False),
        (10.0, 10.0, False, False),
        (8.0, 8.0, False, True),
        # One that has everything hears nothing new.
        (None, 0.0, False, True),
        (-0.5, 0.0, False, True),
    ],
)
def test_a_lag_is_told_with_its_replica_and_its_limit(
    session: Connection, lag: float | None, value: float, over: bool, calm: bool
) -> None:
    replica(session, lag=lag)
    found = lag_of(session)
    assert (found.value, found.limit, found.over, found.calm) == (value, _MOST, over, calm)
    assert found.says == f"replica lag is {value:.1f} s (db2), at most 10 s"
    assert not found.is_blind


def test_the_one_that_is_furthest_behind_counts(session: Connection) -> None:
    replica(session, "near", 0.2)
    replica(session, "far", 31.0)
    replica(session, "idle")
    found = lag_of(session)
    assert (found.value, found.over) == (31.0, True)
    assert "(far)" in found.says


@pytest.mark.parametrize("name", ["", None])
def test_one_without_a_name_is_called_by_its_address(session: Connection, name: str | None) -> None:
    replica(session, name, 1.0, address="10.0.0.7")
    assert "(10.0.0.7)" in lag_of(session).says


def test_one_that_catches_up_holds_back_until_its_lag_is_known(session: Connection) -> None:
    replica(session, "near", 0.2)
    replica(session, "db3", state="catchup")
    found = lag_of(session)
    assert found.says == "replica lag cannot be told: the replica db3 is in the state catchup"
    assert (found.over, found.calm, found.is_blind) == (True, False, True)
    no_replica(session)
    replica(session, "db3", 3.0, state="catchup")
    assert lag_of(session).value == 3.0


def test_a_copy_of_the_whole_database_is_no_replica(session: Connection) -> None:
    replica(session, "pg_basebackup", state="backup")
    assert lag_of(session).says == "replica lag cannot be told: no replica is connected"
    replica(session, lag=1.0)
    assert lag_of(session).value == 1.0


def test_what_the_role_may_not_see_is_told_with_the_cure(session: Connection) -> None:
    """All that is left of a replica then is that it is there."""
    replica(session, lag=1.0)
    replica(session, None, state=None)
    role = session.execute(text("SELECT current_user")).scalar_one()
    session.commit()
    found = lag_of(session)
    assert found.says == (
        f"replica lag cannot be told: the role {role} may not see replicas"
        f" (GRANT pg_monitor TO {role})"
    )
    assert found.over


def test_several_runs_are_told_of_one_look(session: Connection) -> None:
    replica(session, lag=5.0)
    gauges = Gauges(Database(session.engine), session)
    with statements(session.engine) as seen:
        assert [gauges.replica_lag(most).over for most in (1.0, 10.0)] == [True, False]
    assert sum("pg_stat_replication" in one for one in seen) == 1


def test_a_run_goes_on_once_the_replica_has_come_well_below_the_limit(
    postgres_yard: Yard, session: Connection
) -> None:
    yard = postgres_yard
    handle = yard.submit(yard.job(max_replica_lag=_MOST))
    crew = yard.crew()
    throttles = yard.ledger.database.schema.throttles
    for lag, held in ((12.4, True), (9.0, True), (1.0, False)):
        no_replica(session)
        replica(session, lag=lag)
        # Whatever holds it has done so for long.
        with yard.transaction() as connection:
            connection.execute(
                text(f"UPDATE {throttles.fullname} SET since = since - interval '1 minute'")
            )
        Throttling(yard.runtime).look(session)
        shown = handle.progress().throttled
        assert (shown is not None) is held, lag
        if held:
            assert str(shown).startswith(f"replica lag is {lag} s (db2), at most 10 s")
            crew.work()
            assert handle.progress().rows_done == 0
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role like the application's, whose password is its name; the cluster's, so it must go."""
    name = f"team_{secrets.token_hex(4)}"
    engine = create_engine(postgres_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE CURRENT_USER"
        )
    yield name
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {name}")
        connection.exec_driver_sql(f"DROP ROLE {name}")


def test_doctor_tells_of_a_role_that_may_not_see_beforehand(postgres_url: str, role: str) -> None:
    url = make_url(postgres_url).set(username=role, password=role)
    yard = Yard(url.render_as_string(hide_password=False))
    yard.job(max_replica_lag=_MOST)

    def said() -> list[tuple[str, str]]:
        return [(one.what, one.remedy) for one in yard.bulk.doctor() if "may not see" in one.what]

    ((what, remedy),) = said()
    assert what.startswith(f"The role {role} may not see what the job ")
    assert remedy == f"GRANT pg_monitor TO {role}"
    engine = create_engine(postgres_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(remedy)
    assert said() == []
    yard.close()


@pytest.mark.thorough
@pytest.mark.usefixtures("embedded")
def test_a_standby_that_stands_still() -> None:
    """What the tables above stand for, as a real standby makes PostgreSQL say it."""
    with (
        scratch_directory() as home,
        EmbeddedPostgres(home / "primary", settings=TEST_SETTINGS) as primary,
    ):
        engine = create_engine(primary.url)
        standby = standby_of(primary, home / "primary", home / "standby", name="db2")
        try:
            _follow(engine, standby)
        finally:
            engine.dispose()


def _follow(engine: Engine, standby: EmbeddedPostgres) -> None:
    def look() -> Reading:
        with engine.connect() as connection:
            return lag_of(connection, 0.5)

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO seen DEFAULT VALUES"))

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (at timestamptz DEFAULT now())"))
    assert look().says == "replica lag cannot be told: no replica is connected"
    with standby:
        there = create_engine(standby.url, isolation_level="AUTOCOMMIT")
        with there.connect() as session:
            wait_for(lambda: look().calm, message="the standby to have come")
            session.execute(text("SELECT pg_wal_replay_pause()"))
            state = text("SELECT pg_get_wal_replay_pause_state()")
            wait_for(
                lambda: session.execute(state).scalar_one() == "paused",
                message="the standby to stand still",
            )

            def behind() -> Reading | None:
                write()
                found = look()
                return found if found.value else None

            found = wait_for(
                lambda: one if (one := behind()) and one.over else None,
                message="the standby to be behind",
            )
            assert found is not None
            assert "(db2), at most 0.5 s" in found.says
            with engine.connect() as connection:
                # Nobody's role, in a transaction of its own: PostgreSQL shows it nothing.
                connection.exec_driver_sql("CREATE ROLE nobody_special")
                connection.exec_driver_sql("SET ROLE nobody_special")
                connection.commit()
                assert "the role nobody_special may not see replicas" in lag_of(connection).says
                connection.invalidate()
            session.execute(text("SELECT pg_wal_replay_resume()"))
            wait_for(lambda: look().calm, message="the standby to have caught up")
        there.dispose()
    wait_for(
        lambda: look().says == "replica lag cannot be told: no replica is connected",
        message="the standby to be gone",
    )
