"""One route for all, and one for a backend alone."""

from django.urls import include, path

urlpatterns = [
    path("_tasks/", include("cloudtask.urls")),
    path("_reports/", include("cloudtask.urls", "reports"), {"backend": "reports"}),
]
