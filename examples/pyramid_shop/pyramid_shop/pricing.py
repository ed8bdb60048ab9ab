"""What a product costs: written for requests, and called in views and in jobs alike."""

from __future__ import annotations

from pyramid.request import Request

from pyramid_shop.models import Product


def reprice(product: Product, margin: int) -> None:
    """Set a product's price, in cents, so many per cent above what it has cost."""
    product.price = product.cost * (100 + margin) // 100


def shown(request: Request, cents: int | None) -> str:
    """A price as customers read it."""
    if cents is None:
        return "no price yet"
    currency = request.registry.settings["shop.currency"]
    return f"{cents // 100}.{cents % 100:02} {currency}"
