"""What unit tests share."""

from contextlib import nullcontext

import pytest
from celery import current_app
from django.utils import timezone

from jobledger import clock
from tests.unit.broker import Broker

DATABASE_CLOCK = clock.now


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock is this process's, which tests set, also with PostgreSQL."""
    monkeypatch.setattr(clock, "now", timezone.now)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Everything that Celery publishes goes there."""
    made = Broker()
    monkeypatch.setattr(
        current_app, "producer_or_acquire", lambda producer=None: nullcontext(producer or made)
    )
    return made
