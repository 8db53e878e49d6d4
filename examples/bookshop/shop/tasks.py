"""
What the shop does in the background.

Cloud Tasks delivers at least once, so every task may run twice. Each looks
first whether its work is done.
"""

from __future__ import annotations

from datetime import date, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.utils.timezone import now

from cloudtask import (
    CloudTaskRequest,
    Reject,
    Retry,
    RetryPolicy,
    schedule,
    task,
)
from shop import payments
from shop.models import Book, Event, Order

#: For mail servers that are down for a while.
MAIL_RETRY = RetryPolicy(max_attempts=10, min_backoff=timedelta(seconds=1))
CHARGE_RETRY = RetryPolicy(max_attempts=5, max_backoff=timedelta(seconds=30))


@task(queue="emails", retry=MAIL_RETRY)
def confirm_order(request: CloudTaskRequest, order_id: int) -> None:
    """Tell the customer that the order arrived."""
    order = _find(request, "confirm_order", order_id)
    if order.confirmed_at is None:
        text = f"Thank you for ordering {order.quantity} x {order.book}."
        _mail(order, f"Order {order.pk}", text)
        # Marked after the e-mail: whoever dies in between sends it twice
        # rather than never.
        Order.objects.filter(pk=order.pk).update(confirmed_at=now())
        _note(request, "confirm_order", f"e-mail to {order.email}")


@task
def take_stock(request: CloudTaskRequest, order_id: int) -> None:
    """Count an order's copies off the stock."""
    order = _find(request, "take_stock", order_id)
    open_orders = Order.objects.filter(pk=order.pk, stock_taken_at=None)
    try:
        # Both or neither, so this happens once, however often it is delivered.
        with transaction.atomic():
            if open_orders.update(stock_taken_at=now()):
                books = Book.objects.filter(pk=order.book.pk)
                books.update(stock=F("stock") - order.quantity)
                _note(request, "take_stock", f"{order.quantity} x {order.book} taken")
    except IntegrityError:  # The database keeps the stock from falling below 0.
        _note(request, "take_stock", f"rejected: too few copies of {order.book}")
        raise Reject(f"too few copies of {order.book}") from None


@task(retry=CHARGE_RETRY)
def charge_order(request: CloudTaskRequest, order_id: int) -> None:
    """Take the money."""
    order = _find(request, "charge_order", order_id)
    if order.paid_at is not None:
        return
    try:
        amount = payments.charge(order)
    except payments.GatewayDown as error:
        _note(request, "charge_order", str(error))
        raise  # Whatever a task raises is tried again by its policy.
    except payments.GatewayBusy as error:
        _note(request, "charge_order", f"{error}, come back later")
        raise Retry(str(error), after=error.retry_after) from error
    Order.objects.filter(pk=order.pk).update(paid_at=now())
    _note(request, "charge_order", f"{amount} paid")


@task
async def pack_order(request: CloudTaskRequest, order_id: int) -> None:
    """Have an order packed."""
    orders = Order.objects.filter(pk=order_id, packed_at=None)
    if await orders.aupdate(packed_at=now()):
        await Event.objects.acreate(
            task="pack_order",
            task_name=request.task_name or "",
            attempt=request.attempt,
            text=f"order {order_id} packed",
        )


@task(queue="emails", retry=MAIL_RETRY)
def ask_for_review(request: CloudTaskRequest, order_id: int) -> None:
    """Ask the customer how the book was."""
    order = _find(request, "ask_for_review", order_id)
    if order.review_asked_at is None:
        _mail(order, f"How was {order.book}?", "Tell others what you think of it.")
        Order.objects.filter(pk=order.pk).update(review_asked_at=now())
        _note(request, "ask_for_review", f"e-mail to {order.email}")


def _report_name(day: date) -> str:
    return f"{day:%Y-%m-%d}"


@task(queue="emails", named=_report_name)
def stock_report(request: CloudTaskRequest, day: date) -> int:
    """
    Send the owner the stock, one report for each day.

    Returns:
        How many copies there are.
    """
    copies: int = Book.objects.aggregate(copies=Sum("stock"))["copies"] or 0
    lines = [f"{book.title}: {book.stock}" for book in Book.objects.all()]
    send_mail(f"Stock on {day}", "\n".join(lines), None, [settings.OWNER_EMAIL])
    _note(request, "stock_report", f"{copies} copies in stock")
    return copies


@task(queue="emails", cron="0 3 * * *", timezone="Europe/Zurich")
def nightly_report(request: CloudTaskRequest) -> None:
    """Tell the owner each night what was ordered."""
    orders = Order.objects.count()
    send_mail("Orders so far", f"{orders} in all", None, [settings.OWNER_EMAIL])
    _note(request, "nightly_report", f"orders so far: {orders}")


@schedule("0 4 * * SUN", timezone="Europe/Zurich", kwargs={"days": 30})
@task
def clean_up(request: CloudTaskRequest, days: int) -> None:
    """Forget each week what is old."""
    old = Event.objects.filter(created_at__lt=now() - timedelta(days=days))
    deleted, _ = old.delete()
    _note(request, "clean_up", f"{deleted} old notes deleted")


def _find(request: CloudTaskRequest, task_name: str, order_id: int) -> Order:
    """
    The order.

    Raises:
        Reject: It does not exist, and no other attempt will find it.
    """
    try:
        return Order.objects.select_related("book").get(pk=order_id)
    except Order.DoesNotExist:
        _note(request, task_name, f"rejected: there is no order {order_id}")
        raise Reject(f"there is no order {order_id}") from None


def _mail(order: Order, subject: str, text: str) -> None:
    send_mail(subject, text, None, [order.email])


def _note(request: CloudTaskRequest, task_name: str, text: str) -> None:
    Event.objects.create(
        task=task_name,
        task_name=request.task_name or "",
        attempt=request.attempt,
        text=text,
    )
