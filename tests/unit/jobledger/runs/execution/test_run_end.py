"""The end of a run is recorded, whatever ends it."""

from unittest.mock import Mock

import pytest

from jobledger.models import Run
from jobledger.runs.execution import abrupt_ends
from jobledger.runs.execution.run_end import RunEnd


def test_the_heartbeat_has_stopped_before_the_end_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both write under the same lock, so a heartbeat could not stop during the other's write."""
    steps: list[str] = []
    heartbeat, log = Mock(), Mock(last_error_line="")
    heartbeat.stop.side_effect = lambda: steps.append("stopped")
    monkeypatch.setattr(abrupt_ends, "write", lambda record: steps.append("written"))
    end = RunEnd(
        run=Run(job="probe"),
        captured=Mock(),
        taken_over=True,
        log=log,
        heartbeat=heartbeat,
        interrupter=Mock(),
        tree=Mock(),
        meter=Mock(usage=lambda: None),
        traits=Mock(),
        of_caller=frozenset(),
    )
    end.record_exit(SystemExit(3))
    assert steps == ["stopped", "written"]
