"""The tests' settings, in which tasks of another service can be scheduled."""

from tests import settings as of_tests
from tests.settings import *  # noqa: F403

JOBLEDGER = {**of_tests.JOBLEDGER, "SCHEDULABLE_TASKS": ["billing.*"]}
