"""URLs of the API: ``path("api/", include("jobledger.api.urls"))``.

It is one pattern: what the API consists of is not imported by the processes that only load the URLs.
"""

from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured
from django.urls import re_path

from jobledger.api import views

if find_spec("ninja") is None:
    raise ImproperlyConfigured(
        "The HTTP API needs django-ninja: run `pip install django-jobledger[api]`, or do not include "
        "jobledger.api.urls."
    )

app_name = "jobledger_api"
urlpatterns = [re_path(r"^(?P<path>v1/.*)$", views.endpoint, name="endpoint")]
