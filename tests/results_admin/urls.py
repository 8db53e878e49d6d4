from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def no_icon(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


urlpatterns = [
    path("_tasks/", include("cloudtask.urls")),
    path("admin/", admin.site.urls),
    # Browsers ask for it.
    path("favicon.ico", no_icon),
]
