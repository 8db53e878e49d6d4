from django.urls import path

from shop import views

urlpatterns = [
    path("", views.counter, name="counter"),
    path("orders/", views.order, name="order"),
    path("reports/", views.report, name="report"),
    path("ghosts/", views.ghost, name="ghost"),
    path("state.json", views.state, name="state"),
]
