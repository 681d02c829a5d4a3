"""The project's own settings, for tests: a secret of its own, fast password hashing, and jobs to look at."""

import os

os.environ.setdefault("SECRET_KEY", "only-for-tests")

from proj import settings as project
from proj.settings import *  # noqa: F403

INSTALLED_APPS = [*project.INSTALLED_APPS, "tests.probes"]
EXPOSED_COMMANDS = {**project.EXPOSED_COMMANDS, "plain_probe": {}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
