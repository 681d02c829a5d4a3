"""The project's settings for django-celery-beat alone, without this service."""

from proj import settings as project
from proj.settings import *  # noqa: F403

INSTALLED_APPS = [
    app for app in project.INSTALLED_APPS if app.partition(".")[0] not in ("jobledger", "tasks_app")
]
ROOT_URLCONF = __name__
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

urlpatterns: list[object] = []
