"""URLs outside the admin."""

from django.urls import path

from jobledger import views
from jobledger.metrics import views as metrics_views

app_name = "jobledger"
urlpatterns = [
    path("livez", views.alive, name="alive"),
    path("healthz", views.liveness, name="liveness"),
    path("readyz", views.ready, name="readiness"),
    path("metrics", metrics_views.metrics, name="metrics"),
]
