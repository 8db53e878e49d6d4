"""`path("tasks/", include("cloudtask.results.urls"))`: `tasks/<id>/`."""

from __future__ import annotations

from django.urls import path

from cloudtask.results import views

app_name = "cloudtask_results"

urlpatterns = [path("<str:task_id>/", views.status, name="status")]
