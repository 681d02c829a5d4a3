"""The project's settings, with the jobs that are executed to measure the service."""

import os

from proj.settings import *  # noqa: F403
from proj.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "benchmarks.jobs", *os.environ.get("MORE_APPS", "").split()]
