"""The dispatch view, and nothing else."""

from django.urls import include, path

from tests.reliability.served import tasks  # noqa: F401 - registers them

urlpatterns = [path("_tasks/", include("cloudtask.urls"))]
