"""The Django project. Importing it makes its Celery app the one that tasks bind to."""

from proj.celery import app as celery_app

__all__ = ["celery_app"]
