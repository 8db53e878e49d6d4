"""The dispatch view beside a view of the project's own."""

from typing import Any

from django.http import HttpResponse
from django.urls import include, path


def own(request: Any) -> HttpResponse:
    return HttpResponse("own")


urlpatterns = [
    path("_tasks/", include("cloudtask.urls")),
    path("own/", own),
]
