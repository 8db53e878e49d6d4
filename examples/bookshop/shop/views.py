"""The counter: one page to order from and to watch what the tasks do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.utils.timezone import localdate
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from cloudtask.exceptions import EnqueueError, TaskAlreadyExists
from shop import tasks
from shop.forms import OrderForm
from shop.models import Book, Event, Order
from shop.orders import place_order

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

#: On this page nobody waits two weeks.
REVIEW_AFTER = timedelta(seconds=10)
#: Rows of each list.
LENGTH = 20


@require_GET
@never_cache
def counter(request: HttpRequest) -> HttpResponse:
    return _counter(request, OrderForm())


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _counter(request, form, status=422)
    try:
        placed = place_order(**form.cleaned_data, review_after=REVIEW_AFTER)
    except EnqueueError as error:
        messages.error(request, f"The order is in, its tasks are not: {error}")
    else:
        messages.success(
            request, f"Order {placed.order.pk}: {len(placed.tasks)} tasks enqueued."
        )
    return redirect("counter")


@require_POST
def report(request: HttpRequest) -> HttpResponse:
    try:
        tasks.stock_report(localdate()).delay()
    except TaskAlreadyExists as error:
        messages.warning(request, f"Refused: {error}")
    except EnqueueError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Today's stock report is enqueued.")
    return redirect("counter")


@require_POST
def ghost(request: HttpRequest) -> HttpResponseRedirect:
    """Enqueue a task for an order that does not exist."""
    try:
        tasks.confirm_order(0).delay()
    except EnqueueError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "A task for order 0 is enqueued.")
    return redirect("counter")


@require_GET
@never_cache
def state(request: HttpRequest) -> JsonResponse:
    """What the page shows, for its script."""
    return JsonResponse(_state())


def _counter(request: HttpRequest, form: OrderForm, status: int = 200) -> HttpResponse:
    context = {"form": form, **_state()}
    return render(request, "shop/counter.html", context, status=status)


def _state() -> dict[str, list[list[Any]]]:
    """Three tables: rows of cells."""
    orders = Order.objects.select_related("book").order_by("-pk")[:LENGTH]
    events = Event.objects.order_by("-pk")[:LENGTH]
    return {
        "events": [
            [f"{e.created_at:%H:%M:%S}", e.task, e.attempt, e.text] for e in events
        ],
        "orders": [
            [o.pk, f"{o.quantity} x {o.book}", o.email, _done(o)] for o in orders
        ],
        "books": [[b.title, f"{b.price}", b.stock] for b in Book.objects.all()],
    }


def _done(order: Order) -> str:
    steps = {
        "confirmed": order.confirmed_at,
        "stock taken": order.stock_taken_at,
        "paid": order.paid_at,
        "packed": order.packed_at,
        "asked for a review": order.review_asked_at,
    }
    return ", ".join(word for word, moment in steps.items() if moment) or "new"
