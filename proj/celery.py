"""The Celery app, configured by the Django settings that start with ``CELERY_``."""

import os

from celery import Celery

from jobledger.celery import configure

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
configure(app)
