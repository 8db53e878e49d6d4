"""The site that the dispatch benchmark asks."""

from __future__ import annotations

import json
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.serving import EMAIL, SECRET, URL

settings.configure(
    SECRET_KEY="benchmark",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["cloudtask", "benchmarks"],
    CLOUDTASK={
        "PROJECT": "project",
        "LOCATION": "europe-west1",
        "QUEUE": "default",
        "URL": URL,
        "SAE": EMAIL,
        "SECRET": SECRET,
        "EMULATOR_HOST": "127.0.0.1:1",
        "EMULATOR_HTTP_HOST": os.environ["BENCHMARK_KEYS_HOST"],
    },
)


@csrf_exempt
def bare(request: HttpRequest) -> JsonResponse:
    json.loads(request.body)
    return JsonResponse({"status": "done"})


urlpatterns = [path("bare/", bare), path("_tasks/", include("cloudtask.urls"))]

application = get_wsgi_application()
