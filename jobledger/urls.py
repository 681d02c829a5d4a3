"""URLs outside the admin."""

from django.urls import path

from jobledger import views
from jobledger.feeds import views as feeds_views
from jobledger.metrics import views as metrics_views

app_name = "jobledger"
urlpatterns = [
    path("livez", views.alive, name="alive"),
    path("healthz", views.liveness, name="liveness"),
    path("readyz", views.ready, name="readiness"),
    path("metrics", metrics_views.metrics, name="metrics"),
    # Whatever follows is secret, also if it is mistyped.
    path("feeds/<path:secret>", feeds_views.feed, name="feed"),
    path("unsubscribe/<path:secret>", feeds_views.unsubscribe, name="unsubscribe"),
]
