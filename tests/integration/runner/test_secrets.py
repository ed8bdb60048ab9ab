"""A secret parameter is in no table and in no message, and yet in every process that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from sqlalchemy import select

from breakbulk import Masked, RunStatus
from breakbulk.errors import ConfigurationError, IdempotencyConflict, OverlapError
from breakbulk.ledger import Database
from breakbulk.runner.vault import Vault
from tests.support.yard import SECRET_KEY, Goods, Yard, tell, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk, FinishedRun

_SECRET = "s3cr3t-token"


def mailing(yard: Yard, process: Callable[[Any, Chunk[Goods]], None]) -> Callable[..., Any]:
    """Declare a job with a secret; what makes one of it."""

    class Mail:
        """Send something."""

        token: Annotated[str, Masked]

        def source(self) -> Any:
            return select(Goods)

        def process(self, chunk: Chunk[Goods]) -> None:
            process(self, chunk)

        def finished(self, run: FinishedRun) -> None:
            tell(run)

    yard.bulk.job(name="mail", chunk_size=10, retry_delay=0)(Mail)
    return lambda token=_SECRET: yard.bulk.build("mail", {"token": token})


def everything(yard: Yard) -> str:
    """All that the ledger holds."""
    tables = Database(yard.engine).schema.metadata.tables.values()
    with yard.engine.connect() as connection:
        return str([list(connection.execute(select(table))) for table in tables])


def test_a_secret_is_nowhere_in_the_ledger_and_in_every_chunk(yard: Yard) -> None:
    seen: list[str] = []

    def process(job: Any, chunk: Chunk[Goods]) -> None:
        touch(chunk)
        seen.append(job.token)

    mail = mailing(yard, process)
    run = yard.bulk.submit(mail())
    assert _SECRET not in everything(yard)
    assert yard.bulk.shown_parameters(run.record()) == {"token": "***"}
    yard.settle(run)
    yard.assert_proper(run)
    assert seen == [_SECRET] * 3
    assert _SECRET not in everything(yard)


def test_two_runs_of_one_secret_are_of_the_same_parameters(yard: Yard) -> None:
    mail = mailing(yard, lambda _job, chunk: touch(chunk))
    first = yard.bulk.submit(mail(), idempotency_key="once")
    assert yard.bulk.submit(mail(), idempotency_key="once").id == first.id
    with pytest.raises(IdempotencyConflict):
        yard.bulk.submit(mail("other"), idempotency_key="once")
    with pytest.raises(OverlapError):
        yard.bulk.submit(mail())
    assert yard.bulk.submit(mail("other")).id != first.id


def test_a_run_that_began_under_an_older_key_is_known(yard: Yard) -> None:
    mail = mailing(yard, lambda _job, chunk: touch(chunk))
    first = yard.bulk.submit(mail(), idempotency_key="once")
    newer = "the one that has been put in front of it"
    object.__setattr__(yard.runtime, "vault", Vault([newer, SECRET_KEY]))
    assert yard.bulk.submit(mail(), idempotency_key="once").id == first.id
    with pytest.raises(OverlapError):
        yard.bulk.submit(mail())
    yard.settle(first)
    yard.assert_proper(first)


def test_a_secret_is_not_in_a_signature(yard: Yard) -> None:
    mail = mailing(yard, lambda _job, chunk: touch(chunk))
    signature = yard.bulk.signature(mail())
    assert _SECRET not in str(dict(signature))  # what goes through the broker
    assert signature.task is not None
    submitted = yard.celery.tasks[signature.task](*signature.args, **signature.kwargs)
    run = yard.bulk.run(submitted)
    yard.settle(run)
    yard.assert_proper(run)


def test_without_a_key_nothing_is_submitted(yard: Yard) -> None:
    mail = mailing(yard, lambda _job, chunk: touch(chunk))
    object.__setattr__(yard.runtime, "vault", Vault())
    with pytest.raises(ConfigurationError, match="BREAKBULK_SECRET_KEY"):
        yard.bulk.submit(mail())
    assert yard.bulk.runs() == []


def test_a_worker_with_another_key_holds_the_run_and_says_why(yard: Yard) -> None:
    mail = mailing(yard, lambda _job, chunk: touch(chunk))
    run = yard.bulk.submit(mail())
    object.__setattr__(yard.runtime, "vault", Vault(["another one that is long enough by far"]))
    yard.settle(run)
    record = run.record()
    assert record.status is RunStatus.HELD
    assert "another secret_key" in str(record.reason)
    object.__setattr__(yard.runtime, "vault", Vault([SECRET_KEY]))
    run.resume()
    yard.settle(run)
    yard.assert_proper(run)
