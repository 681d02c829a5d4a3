"""A Sentry server, to which the service reports."""

from collections.abc import Iterator

import pytest
import time_machine
from pytest_django import Settings

from tests.unit.builders import override
from tests.unit.jobledger.sentry.receiver import Sentry, sentry_server


@pytest.fixture
def sentry(settings: Settings, clock: time_machine.Traveller) -> Iterator[Sentry]:
    with sentry_server() as received:
        override(settings, SENTRY_DSN=received.dsn, SENTRY_RELEASE="1.2", ENVIRONMENT="staging")
        yield received
