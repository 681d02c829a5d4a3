"""Fixtures of the tests of alerts."""

from collections.abc import Iterator

import pytest
import time_machine

from tests.unit.builders import NOON


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """Stands still at noon until it is shifted."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller
