"""A view that a page can poll for how far a task is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpResponseForbidden, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cloudtask.results.models import TaskRecord
from cloudtask.wire.payload import as_id

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase


@login_not_required  # It answers others with 403, which a script can read.
@require_safe
@never_cache
def status(request: HttpRequest, task_id: str) -> HttpResponseBase:
    """
    Tell how far a task is, to users who are logged in.

    Neither arguments nor results: wrap `StoredResult` in a view of your own
    for these.

    Args:
        request: The request; its user has to be authenticated.
        task_id: The id that `delay()` or `enqueue()` returned.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return HttpResponseForbidden()
    fields = (
        "status",
        "progress_done",
        "progress_total",
        "progress_message",
        "cancelled_at",
        "finished_at",
    )
    task_id = as_id(task_id)
    row = TaskRecord.objects.filter(pk=task_id).values(*fields).first()
    if row is None:
        raise Http404
    return JsonResponse(
        {
            "id": task_id,
            "status": row["status"],
            "progress": {
                "done": row["progress_done"],
                "total": row["progress_total"],
                "message": row["progress_message"],
            },
            "cancelled": row["cancelled_at"] is not None,
            "finished_at": row["finished_at"],
        }
    )
