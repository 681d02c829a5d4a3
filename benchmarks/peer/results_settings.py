"""The peer with django-celery-results, which stores in the database what becomes of each task."""

from benchmarks.peer.settings import *  # noqa: F403
from benchmarks.peer.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "django_celery_results"]
CELERY_TASK_IGNORE_RESULT = False
CELERY_TASK_TRACK_STARTED = True
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_BACKEND = "django-db"
