"""Statements that cannot be walked, each refused in one sentence that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Join, Select, Table, UniqueConstraint, literal_column
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, Null, Over
from sqlalchemy.sql.functions import FunctionElement

from breakbulk.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, FromClause

_AGGREGATES = frozenset(
    {"count", "sum", "min", "max", "avg", "array_agg", "string_agg", "json_agg", "jsonb_agg"}
)

# SQLAlchemy keeps these to itself, but offers no public way to ask for them.
_CLAUSES = (
    (
        ("_limit_clause", "_offset_clause", "_fetch_clause"),
        "has a LIMIT or OFFSET, which each chunk would apply anew; say which rows in its WHERE",
    ),
    (("_distinct", "_distinct_on"), "is DISTINCT; select rows that are distinct, or use EXISTS"),
    (
        ("_group_by_clauses", "_having_criteria"),
        "has a GROUP BY, so its rows are not a table's rows; select the rows and group in process",
    ),
    (
        ("_order_by_clauses",),
        "has an ORDER BY, but rows are worked in the order of their key; drop it, or give key=",
    ),
    (
        ("_for_update_arg",),
        "has a FOR UPDATE, which the walk must not wait for; drop it and lock rows in process",
    ),
)


def refuse_clauses(statement: object) -> None:
    """Refuse what cannot be cut into ranges of a key.

    Raises:
        SourceError: the statement is no select, or has a clause that looks at all of its rows.
    """
    if not isinstance(statement, Select):
        raise SourceError(
            f"The source is a {type(statement).__name__}, but only a plain select() can be walked, "
            "such as select(Product).where(Product.active)."
        )
    for names, complaint in _CLAUSES:
        if any(_present(getattr(statement, name, None)) for name in names):
            raise SourceError(f"The source's select() {complaint}.")
    for column in statement.selected_columns:
        for element in visitors.iterate(column):
            if isinstance(element, Over):
                raise SourceError(
                    "The source's select() has a window function, which would see one chunk only; "
                    "compute it in a table or in process."
                )
            if isinstance(element, FunctionElement) and _name(element) in _AGGREGATES:
                raise SourceError(
                    "The source's select() has an aggregate such as COUNT, so its rows are not a "
                    "table's rows; select the rows themselves."
                )


def is_unique(table: Table, columns: Sequence[Column[Any]]) -> bool:
    """Whether the metadata proves that no two rows of a table share these columns' values."""
    names = {column.name for column in columns}
    proofs: list[set[str]] = [{column.name for column in table.primary_key}]
    proofs += [
        {column.name for column in constraint.columns}
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    proofs += [
        {column.name for column in index.columns}
        for index in table.indexes
        # A partial index is no proof, and neither is one over expressions.
        if index.unique
        and not any(index.dialect_options[name].get("where") is not None for name in _PARTIAL)
        and len(index.columns) == len(index.expressions)
        and all(isinstance(expression, Column) for expression in index.expressions)
    ]
    return any(proof and proof <= names for proof in proofs)


_PARTIAL = ("postgresql", "sqlite")


def excludes_null(condition: ColumnElement[Any] | None, column: Column[Any]) -> bool:
    """Whether a WHERE clause says ``column IS NOT NULL``, at its top or joined by AND."""
    if isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        return any(excludes_null(part, column) for part in condition.clauses)
    return (
        isinstance(condition, BinaryExpression)
        and condition.operator is operators.is_not
        and isinstance(condition.right, Null)
        and column in condition.left.base_columns
    )


def tables_of(statement: Select[*tuple[Any, ...]]) -> Sequence[FromClause]:
    """What a statement selects from: tables, aliases, joins and subqueries.

    Joins that only load collections along with their objects do not count.
    """
    bare: Select[*tuple[Any, ...]] = statement.with_only_columns(
        literal_column("1"), maintain_column_froms=True
    )
    return bare.get_final_froms()


def joins_outer(statement: Select[*tuple[Any, ...]]) -> bool:
    """Whether a table of the statement may give rows of nothing but NULL."""
    return any(
        isinstance(element, Join) and (element.isouter or element.full)
        for source in tables_of(statement)
        for element in visitors.iterate(source)
    )


def _present(clause: object) -> bool:
    return clause is not None and clause is not False and clause != ()


def _name(function: FunctionElement[Any]) -> str:
    return str(getattr(function, "name", "")).lower()
