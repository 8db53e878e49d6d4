"""Placing an order."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction

from shop import tasks
from shop.models import Order

if TYPE_CHECKING:
    from cloudtask import EnqueuedTask
    from shop.models import Book

#: When a customer has read the book.
REVIEW_AFTER = timedelta(days=14)


class PlacedOrder(NamedTuple):
    """An order and its tasks, by the names of their functions."""

    order: Order
    tasks: dict[str, EnqueuedTask]


def place_order(
    book: Book, quantity: int, email: str, *, review_after: timedelta = REVIEW_AFTER
) -> PlacedOrder:
    """
    Take an order and have the rest done in the background.

    Raises:
        EnqueueError: Cloud Tasks cannot be reached. The order exists then.
    """
    with transaction.atomic():
        order = Order.objects.create(book=book, quantity=quantity, email=email)
        # All of them wait for the commit: no task looks for an order that is
        # not there yet, and none is sent for one that was rolled back.
        sent = {
            "confirm_order": tasks.confirm_order(order.pk).delay(),
            "take_stock": tasks.take_stock(order.pk).push(),
            "charge_order": tasks.charge_order(order.pk).delay(),
            "pack_order": tasks.pack_order(order.pk).delay(),
            "ask_for_review": tasks.ask_for_review(order.pk).schedule(
                after=review_after
            ),
        }
    return PlacedOrder(order, sent)
