"""The tests' settings, with timeouts of two seconds for a locked SQLite file or a hanging Redis."""

from proj import settings as project
from tests.settings import *  # noqa: F403

_default = project.DATABASES["default"]
DATABASES = {"default": {**_default, "OPTIONS": {**_default.get("OPTIONS", {}), "timeout": 2}}}
CELERY_BROKER_TRANSPORT_OPTIONS = {**project.CELERY_BROKER_TRANSPORT_OPTIONS, "socket_timeout": 2}
