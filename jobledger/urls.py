"""URLs outside the admin."""

from django.urls import path

from jobledger import views

app_name = "jobledger"
urlpatterns = [
    path("livez", views.alive, name="alive"),
    path("healthz", views.liveness, name="liveness"),
    path("readyz", views.ready, name="readiness"),
]
