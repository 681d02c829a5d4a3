"""The tests' settings, but whoever finds a SQLite database locked gives up after two seconds."""

from proj import settings as project
from tests.settings import *  # noqa: F403

_default = project.DATABASES["default"]
DATABASES = {"default": {**_default, "OPTIONS": {**_default.get("OPTIONS", {}), "timeout": 2}}}
