"""One route for all, and one for each of two backends alone."""

from django.urls import include, path

urlpatterns = [
    path("_tasks/", include("cloudtask.urls")),
    path("default/_tasks/", include("cloudtask.urls", "own"), {"backend": "default"}),
    path("vault/_tasks/", include("cloudtask.urls", "vault"), {"backend": "vault"}),
]
