"""What tests of schedules share."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine

from tests.unit.jobledger.schedules.builders import NOON


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """The clock, which stands at a minute before noon: signal handlers read it when a schedule is saved."""
    with time_machine.travel(NOON - timedelta(minutes=1), tick=False) as traveller:
        yield traveller
