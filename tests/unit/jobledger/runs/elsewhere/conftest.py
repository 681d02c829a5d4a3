"""What the tests about other services share: a broker, a result backend, and a clock that stands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine

from tests.unit.broker import Broker
from tests.unit.builders import NOON, override
from tests.unit.jobledger.runs.elsewhere.builders import Elsewhere


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def schedulable(settings: Any, broker: Broker) -> Broker:
    override(settings, SCHEDULABLE_TASKS=["billing.*"])
    return broker


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """The other service; this project has the same result backend."""
    made = Elsewhere(tmp_path / "results")
    monkeypatch.setattr("jobledger.runs.elsewhere.backend.current_app", made.app)
    return made
