"""The shop's pages, and the one route that tasks come back through."""

from django.urls import include, path

urlpatterns = [
    path("", include("shop.urls")),
    path("_tasks/", include("cloudtask.urls")),
]
