"""Warehouses, what is in them, and what the shopkeeper is told."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from pyramid_shop.models.meta import Base


class Warehouse(Base):
    """A place full of products."""

    __tablename__ = "warehouses"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    processed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    times_processed: Mapped[int] = mapped_column(default=0)

    def worth(self, session: Session) -> int:
        """What all its products cost together, in cents."""
        total = select(func.coalesce(func.sum(Product.price), 0))
        return int(session.scalar(total.where(Product.warehouse_id == self.id)) or 0)


class Product(Base):
    """Something on its shelves.

    Attributes:
        cost: what the shop has paid, in cents.
        price: what a customer pays, in cents; None: not for sale yet.
    """

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    warehouse_id: Mapped[int] = mapped_column(ForeignKey(Warehouse.id), index=True)
    name: Mapped[str]
    cost: Mapped[int]
    price: Mapped[int | None]


class Notice(Base):
    """Something that the shopkeeper is told."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    run: Mapped[int]
    text: Mapped[str]
    url: Mapped[str]
