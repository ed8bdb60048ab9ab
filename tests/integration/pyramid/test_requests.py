"""Submitting in a request: its transaction, its session, its user, and no waiting for brokers."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction
import zope.sqlalchemy
from pyramid.httpexceptions import HTTPConflict, HTTPSeeOther
from sqlalchemy import select
from sqlalchemy.orm import scoped_session, sessionmaker
from transaction.interfaces import TransientError

from breakbulk import RunStatus
from breakbulk.errors import ConfigurationError, OverlapError, RunNotFound
from breakbulk.pyramid import RunSubmitted
from tests.support.waiting import wait_for
from tests.support.yard import Goods, Notice

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support.pyramid_yard import PyramidYard


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Lanes that are asked for."""
    asked: list[Any] = []

    def send(_broker: Any, queue: str, count: int, _good_until: Any = None) -> bool:
        asked.append((queue, count))
        return True

    monkeypatch.setattr("breakbulk.broker.Broker.send_lanes", send)
    return asked


def nudged(yard: PyramidYard) -> None:
    wait_for(lambda: yard.bulk.nudges.idle, message="the nudges to be over")


def test_a_request_that_commits_submits_and_asks_for_lanes(make_yard: Any, sent: list[Any]) -> None:
    yard = make_yard()
    job = yard.job()
    seen: list[int] = []

    def view(request: Any) -> int:
        # Nothing else of the session is dirty: Core statements alone would be rolled back.
        run = request.breakbulk.submit(job())
        seen.append(len(sent))
        return int(run.id)

    answer = yard.web.get(yard.serve(view))
    nudged(yard)
    assert seen == [0], "not before the commit"
    assert sent == [("celery", 1)]
    run = yard.bulk.run(int(answer.text))
    yard.settle(run)
    yard.assert_proper(run)


@pytest.mark.parametrize("how", ["raises", "dooms", "vetoes", "savepoint"])
def test_a_request_that_does_not_commit_submits_nothing(
    make_yard: Any, sent: list[Any], how: str
) -> None:
    settings = {"tm.commit_veto": "pyramid_tm.default_commit_veto"}
    yard = make_yard(settings=settings)
    job = yard.job()

    def view(request: Any) -> Any:
        savepoint = request.dbsession.begin_nested() if how == "savepoint" else None
        run = request.breakbulk.submit(job())
        assert run.created
        if how == "raises":
            raise LookupError("something went wrong later")
        if how == "dooms":
            request.tm.doom()
        if how == "vetoes":
            return HTTPConflict()
        if savepoint is not None:
            savepoint.rollback()
        return "fine"

    path = yard.serve(view)
    if how == "raises":
        with pytest.raises(LookupError):
            yard.web.get(path)
    else:
        yard.web.get(path, status=409 if how == "vetoes" else 200)
    nudged(yard)
    assert yard.count("runs") == 0
    assert sent == []


def test_a_request_that_is_tried_again_submits_once(make_yard: Any, sent: list[Any]) -> None:
    yard = make_yard()
    job = yard.job()
    tries: list[int] = []

    def view(request: Any) -> str:
        request.breakbulk.submit(job())
        tries.append(1)
        if len(tries) < 3:
            raise TransientError
        return "third time lucky"

    assert yard.web.get(yard.serve(view)).text == "third time lucky"
    nudged(yard)
    assert len(tries) == 3
    assert yard.count("runs") == 1
    assert sent == [("celery", 1)]


def test_what_a_request_has_written_belongs_to_its_run(make_yard: Any) -> None:
    yard = make_yard()
    job = yard.job()

    def view(request: Any) -> int:
        request.dbsession.add(Goods(id=26))
        request.dbsession.flush()
        return int(request.breakbulk.submit(job()).id)

    run = yard.bulk.run(int(yard.web.get(yard.serve(view)).text))
    yard.settle(run)
    yard.assert_proper(run)
    assert len(yard.versions()) == 26


@pytest.mark.parametrize("broker", ["down", "mute"])
def test_a_broker_that_does_not_answer_delays_nothing_and_loses_nothing(
    make_yard: Any, broker: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if broker == "down":
            server.close()
        yard = make_yard(settings={"celery.broker_url": f"redis://127.0.0.1:{port}/0"})
        job = yard.job()
        path = yard.serve(lambda request: request.breakbulk.submit(job()).id)
        run = yard.bulk.run(int(yard.web.get(path).text))
        if broker == "mute":
            assert not yard.bulk.nudges.idle, "it still waits, and the request did not"
        nudged(yard)
    yard.settle(run)
    yard.assert_proper(run)


def test_a_request_never_waits_for_the_nudge(
    make_yard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    waited: list[bool] = []

    def send(*_: Any) -> bool:
        waited.append(answered.wait(60))
        return False

    monkeypatch.setattr("breakbulk.broker.Broker.send_lanes", send)
    yard = make_yard()
    job = yard.job()
    yard.web.get(yard.serve(lambda request: request.breakbulk.submit(job()).id))
    answered.set()
    nudged(yard)
    assert waited == [True], "the answer came while the broker was still asked"


def test_a_session_that_the_application_commits_itself(make_yard: Any, sent: list[Any]) -> None:
    yard = make_yard(joined=False)
    job = yard.job()

    def view(request: Any) -> int:
        run = request.breakbulk.submit(job())
        if "commit" in request.params:
            request.dbsession.commit()
        request.dbsession.close()
        return int(run.id)

    path = yard.serve(view)
    yard.web.get(path)
    assert yard.count("runs") == 0
    run = yard.bulk.run(int(yard.web.get(path, {"commit": 1}).text))
    nudged(yard)
    assert sent == [("celery", 1)]
    yard.settle(run)
    yard.assert_proper(run)


def test_one_session_for_each_thread_as_older_applications_have_it(
    make_yard: Any, clean_engine: Engine, sent: list[Any]
) -> None:
    sessions = scoped_session(sessionmaker(clean_engine))
    zope.sqlalchemy.register(sessions)
    yard = make_yard(
        settings={
            "breakbulk.dbsession": "db",
            "breakbulk.database": clean_engine,
            "tm.manager_hook": lambda _request: transaction.manager,
        },
        configure=lambda config: config.add_request_method(lambda _request: sessions, "db", True),
    )
    job = yard.job()

    def view(request: Any) -> int:
        run = request.breakbulk.submit(job())
        if "fail" in request.params:
            raise LookupError
        return int(run.id)

    path = yard.serve(view)
    with pytest.raises(LookupError):
        yard.web.get(path, {"fail": 1})
    assert yard.count("runs") == 0
    run = yard.bulk.run(int(yard.web.get(path).text))
    nudged(yard)
    assert sent == [("celery", 1)]
    yard.settle(run)
    yard.assert_proper(run)


def test_a_request_without_a_session_is_told_what_to_say(make_yard: Any) -> None:
    yard = make_yard(settings={"breakbulk.dbsession": "db"})
    job = yard.job()
    path = yard.serve(lambda request: request.breakbulk.submit(job()))
    with pytest.raises(ConfigurationError, match=r"request\.db is no SQLAlchemy session: say by"):
        yard.web.get(path)


def test_the_same_request_twice(make_yard: Any) -> None:
    yard = make_yard()
    job = yard.job()

    def view(request: Any) -> str:
        run = request.breakbulk.submit(job(), idempotency_key="order-5")
        return f"{run.id} {run.created}"

    path = yard.serve(view)
    assert [yard.web.get(path).text for _ in range(2)] == ["1 True", "1 False"]


def test_a_view_may_answer_that_one_goes_on_already(make_yard: Any) -> None:
    yard = make_yard()
    job = yard.job()

    def view(request: Any) -> Any:
        request.dbsession.add(Notice(run=0, words="asked for"))
        try:
            run = request.breakbulk.submit(job())
        except OverlapError as error:
            return HTTPSeeOther(f"/runs/{error.run_id}")
        return run.id

    path = yard.serve(view)
    yard.web.get(path)
    assert yard.web.get(path, status=303).location == "http://localhost/runs/1"
    assert yard.notices() == ["asked for"] * 2, "its transaction is still good"


# Looking and steering


def test_who_asks_is_on_record(make_yard: Any) -> None:
    yard = make_yard()
    job = yard.job()
    start = yard.serve(lambda request: request.breakbulk.submit(job()).id)
    stop = yard.serve(lambda request: request.breakbulk.run(1).pause(), 1)
    go_on = yard.serve(lambda request: request.breakbulk.run(1).resume(), 2)
    yard.web.get(start, headers={"user": "ann"})
    assert yard.web.get(stop, headers={"user": "ben"}).text == "paused"
    assert yard.web.get(go_on).text == "running"
    run = yard.bulk.run(1)
    assert run.record().submitted_by == "ann"
    actors = {one.verb: one.actor for one in run.activity()}
    assert actors["submitted"] == "ann"
    assert actors["pausing"] == "ben"
    assert "@" in actors["resumed"], "without a user it is the process's own"


def test_runs_are_seen_once_they_are_committed(make_yard: Any) -> None:
    yard = make_yard()
    job = yard.job()
    missed: list[int] = []

    def view(request: Any) -> Any:
        run = request.breakbulk.submit(job())
        with pytest.raises(RunNotFound):
            request.breakbulk.run(run.id)
        missed.append(run.id)
        return [one.id for one in request.breakbulk.runs()]

    assert yard.web.get(yard.serve(view)).text == "[]"
    look = yard.serve(lambda request: [one.id for one in request.breakbulk.runs(limit=5)], 1)
    assert yard.web.get(look).text == str(missed)
    status = yard.serve(lambda request: request.breakbulk.run(1).progress().status, 2)
    assert yard.web.get(status).text == "running"


# Told of it


def test_subscribers_of_a_submit_are_in_the_requests_transaction(make_yard: Any) -> None:
    heard: list[Any] = []

    def hear(event: RunSubmitted) -> None:
        heard.append(event)
        event.session.add(Notice(run=event.run.id, words=f"by {event.run.submitted_by}"))
        assert event.session is event.request.dbsession

    yard = make_yard(configure=lambda config: config.add_subscriber(hear, RunSubmitted))
    job = yard.job()
    requests: list[Any] = []

    def view(request: Any) -> None:
        requests.append(request)
        request.breakbulk.submit(job())
        if "fail" in request.params:
            raise LookupError

    path = yard.serve(view)
    with pytest.raises(LookupError):
        yard.web.get(path, {"fail": 1})
    assert yard.notices() == []
    yard.web.get(path, headers={"user": "ann"})
    assert yard.notices() == ["by ann"]
    assert [event.request for event in heard] == requests


def test_a_submit_outside_of_requests_is_told_with_a_prepared_one(make_yard: Any) -> None:
    heard: list[Any] = []

    def hear(event: RunSubmitted) -> None:
        heard.append(event.request)
        assert event.request.dbsession is event.session
        event.session.add(Notice(run=event.run.id, words="heard"))

    yard = make_yard(configure=lambda config: config.add_subscriber(hear, RunSubmitted))
    job = yard.job()
    yard.bulk.submit(job())
    assert yard.notices() == ["heard"]
    with yard.sessions() as session:
        yard.bulk.submit(job(tag="another"), session=session)
        session.commit()
    assert yard.notices() == ["heard"] * 2
    assert heard[0] is not heard[1]


def test_a_subscriber_that_raises_refuses_the_submit(make_yard: Any) -> None:
    def refuse(_event: RunSubmitted) -> None:
        raise PermissionError("the warehouse is closed")

    yard = make_yard(configure=lambda config: config.add_subscriber(refuse, RunSubmitted))
    job = yard.job()
    path = yard.serve(lambda request: request.breakbulk.submit(job()))
    with pytest.raises(PermissionError, match="closed"):
        yard.web.get(path)
    assert yard.count("runs") == 0


def test_tasks_that_run_where_they_are_called(make_yard: Any) -> None:
    yard = make_yard(settings={"celery.task_always_eager": "true"})
    job = yard.job()

    def view(request: Any) -> int:
        run = request.breakbulk.submit(job())
        # Nothing is worked on before the commit.
        assert not request.dbsession.scalars(select(Goods).where(Goods.version > 0)).all()
        return int(run.id)

    run = yard.bulk.run(int(yard.web.get(yard.serve(view)).text))
    assert run.status() is RunStatus.SUCCEEDED
    yard.assert_proper(run)
