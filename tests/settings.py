"""The project's settings for tests: a separate secret, fast password hashing, and jobs to test with."""

import os

os.environ.setdefault("SECRET_KEY", "only-for-tests")

from proj import settings as project
from proj.settings import *  # noqa: F403

# For the tables that tests of signing in with a code need.
_OTP_APPS = ["django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static"]
_MISSING = [app for app in _OTP_APPS if app not in project.INSTALLED_APPS]

INSTALLED_APPS = [*project.INSTALLED_APPS, *_MISSING, "tests.probes", "tests.shapes"]
_EXPOSED = ("plain_probe", "applications", "asynchronous_plain", "labels", "sql")
JOBLEDGER = {
    **project.JOBLEDGER,
    "EXPOSED_COMMANDS": {**project.JOBLEDGER["EXPOSED_COMMANDS"], **{name: {} for name in _EXPOSED}},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Static files are looked for when they are requested. Otherwise each test's client would first list them all.
WHITENOISE_AUTOREFRESH = True
# The options of tests/shapes that it reports are there to be tested.
SILENCED_SYSTEM_CHECKS = ["jobledger.W021"]
TASKS = {"default": {"BACKEND": "jobledger.django_tasks.JobledgerBackend", "QUEUES": ["default", "mail"]}}
