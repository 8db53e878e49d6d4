"""
Stands in for a payment provider.

It fails twice for every order, so that there is something to try again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import F

from shop.models import Order

if TYPE_CHECKING:
    from decimal import Decimal


class GatewayDown(Exception):
    """The provider did not answer."""


class GatewayBusy(Exception):
    """The provider asks to come back later."""

    def __init__(self, message: str, retry_after: timedelta) -> None:
        self.retry_after = retry_after
        super().__init__(message)


def charge(order: Order) -> Decimal:
    """
    Take the money for an order.

    Returns:
        The amount.

    Raises:
        GatewayDown: The first call for an order.
        GatewayBusy: The second one.
    """
    Order.objects.filter(pk=order.pk).update(payment_calls=F("payment_calls") + 1)
    order.refresh_from_db(fields=["payment_calls"])
    if order.payment_calls == 1:
        raise GatewayDown("the gateway did not answer")
    if order.payment_calls == 2:
        raise GatewayBusy("the gateway is busy", retry_after=timedelta(seconds=1))
    return order.book.price * order.quantity
