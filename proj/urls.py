"""The admin is the site; beside it stand the service's health checks."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

handler500 = "jobledger.views.server_error"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("jobledger.urls")),
]
