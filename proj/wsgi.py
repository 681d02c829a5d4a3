"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

application = get_wsgi_application()
# Imports every page now, not within the first request. A mistake in one keeps the server from starting.
get_resolver().url_patterns  # noqa: B018 - the first access imports them
