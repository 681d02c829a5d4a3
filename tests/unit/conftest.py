"""What unit tests share."""

from contextlib import nullcontext

import pytest
from celery import current_app

from tests.unit.broker import Broker


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Everything that Celery publishes goes there."""
    made = Broker()
    monkeypatch.setattr(
        current_app, "producer_or_acquire", lambda producer=None: nullcontext(producer or made)
    )
    return made
