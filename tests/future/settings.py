"""The settings of the future version."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as PRESENT

INSTALLED_APPS = [*PRESENT, "tests.future"]
MIGRATION_MODULES = {"jobledger": "tests.future.of_jobledger"}
