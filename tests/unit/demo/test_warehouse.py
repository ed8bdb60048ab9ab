"""Filling the warehouse, and the proof that asks it alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.orm import Session

from breakbulk.demo.proofs import Proof, by_sql, notices
from breakbulk.demo.warehouse import Notice, Product, expect, fill, stock

PRODUCTS = 20_000  # more than the catalogue holds, and no multiple of it
KEY = "key"


def silent(_count: int) -> None:
    pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}")
    yield engine
    engine.dispose()


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def stocked(engine: Engine) -> dict[int, int]:
    with engine.connect() as connection:
        return stock(connection)


def proof_of(engine: Engine) -> Proof:
    with engine.connect() as connection:
        found = by_sql(connection, KEY)
    assert found is not None
    return found


def test_is_filled_with_distinct_products(engine: Engine) -> None:
    told: list[int] = []
    assert fill(engine, PRODUCTS, told.append)
    with engine.connect() as connection:
        first, last, distinct, names = connection.execute(
            select(
                func.min(Product.id),
                func.max(Product.id),
                func.count(Product.id.distinct()),
                func.count(Product.name.distinct()),
            )
        ).one()
        prices = connection.execute(
            select(func.min(Product.price_cents), func.max(Product.price_cents))
        ).one()
    assert (first, last, distinct) == (1, PRODUCTS, PRODUCTS)
    assert names > 14_000
    assert 0 < prices[0] < prices[1]
    assert stocked(engine) == {0: PRODUCTS}
    assert told == sorted(told)
    assert told[-1] == PRODUCTS


def test_a_full_one_is_left_alone(engine: Engine) -> None:
    fill(engine, 100, silent)
    change(engine, "UPDATE breakbulk_demo_product SET version = 3")
    assert not fill(engine, 100, silent)
    assert stocked(engine) == {3: 100}


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM breakbulk_demo_product WHERE id = 50",
        "UPDATE breakbulk_demo_product SET version = 1 WHERE id = 50",
    ],
)
def test_one_that_is_not_whole_is_filled_anew(harm: str, engine: Engine) -> None:
    fill(engine, 100, silent)
    change(engine, harm)
    assert fill(engine, 100, silent)
    assert stocked(engine) == {0: 100}


def test_another_size_is_filled_anew(engine: Engine) -> None:
    fill(engine, 100, silent)
    assert fill(engine, 70, silent)
    assert stocked(engine) == {0: 70}


class TestProof:
    @pytest.fixture
    def processed(self, engine: Engine) -> Engine:
        """A warehouse in which each product was processed once."""
        fill(engine, 100, silent)
        with Session(engine) as session, session.begin():
            expect(session, KEY)
        change(engine, "UPDATE breakbulk_demo_product SET version = version + 1")
        return engine

    def test_holds(self, processed: Engine) -> None:
        proof = proof_of(processed)
        assert proof.holds
        assert proof.answer == ("version 1: 100 products",)

    @pytest.mark.parametrize(
        ("harm", "finding"),
        [
            ("SET version = 2 WHERE id = 4", r"product 4 \(certifi\) was processed twice"),
            ("SET version = 0 WHERE id = 4", r"product 4 \(certifi\) was not processed"),
            ("SET version = 5 WHERE id = 4", r"product 4 \(certifi\) was processed 5 times"),
            ("SET version = -1 WHERE id = 4", r"product 4 \(certifi\) was set back"),
        ],
    )
    def test_names_the_product(self, harm: str, finding: str, processed: Engine) -> None:
        change(processed, f"UPDATE breakbulk_demo_product {harm}")
        (found,) = self.findings(processed)
        assert re.fullmatch(finding, found)

    def test_counts_what_it_does_not_name(self, processed: Engine) -> None:
        change(processed, "UPDATE breakbulk_demo_product SET version = 2")
        findings = self.findings(processed)
        assert len(findings) == 6
        assert findings[-1] == "95 more products were not processed exactly once"

    def test_misses_what_is_gone(self, processed: Engine) -> None:
        change(processed, "DELETE FROM breakbulk_demo_product WHERE id = 4")
        assert self.findings(processed) == ("1 of 100 products are missing",)

    def test_the_printed_statement_gives_the_printed_answer(self, processed: Engine) -> None:
        proof = proof_of(processed)
        with processed.connect() as connection:
            assert connection.execute(text(proof.question)).all() == [(1, 100)]

    def test_there_is_none_of_what_was_not_expected(self, processed: Engine) -> None:
        change(processed, "UPDATE breakbulk_demo_product SET version = 7 WHERE id = 4")
        with Session(processed) as session, session.begin():
            expect(session, "another")
        with processed.connect() as connection:
            assert by_sql(connection, "another") is None
            assert by_sql(connection, None) is None

    def test_notices_are_those_of_the_run(self, processed: Engine) -> None:
        with Session(processed) as session, session.begin():
            session.add_all([Notice(run_id=1, text="one"), Notice(run_id=2, text="two")])
        assert notices(processed, 2) == ["two"]

    def findings(self, engine: Engine) -> tuple[str, ...]:
        proof = proof_of(engine)
        assert not proof.holds
        return proof.findings
