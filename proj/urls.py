"""The admin, and the health check."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

handler500 = "jobledger.views.server_error"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("jobledger.urls")),
    path("api/", include("jobledger.api.urls")),
]

if settings.OIDC_ISSUER:
    urlpatterns.append(path("", include("proj.sign_in.single_sign_on")))
