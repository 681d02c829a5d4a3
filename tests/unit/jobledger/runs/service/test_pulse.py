"""What a worker's main process does all the time happens at each pulse, and so without Celery's heartbeat."""

import subprocess
from pathlib import Path

import psutil
import pytest
from celery.signals import heartbeat_sent
from pytest_django import Settings

from jobledger.runs.output import salvage
from jobledger.runs.service import presence
from jobledger.runs.service.pulse import pulse
from jobledger.runs.worker import orphans
from tests.unit.builders import override
from tests.waiting import wait_until


@pytest.fixture(scope="module", autouse=True)
def connected() -> None:
    """What a worker connects when it starts, and as often as it likes."""
    presence.watch_worker()
    orphans.connect()
    salvage.connect()


def test_its_health_file_is_touched(tmp_path: Path, settings: Settings) -> None:
    override(settings, HEALTH_DIR=str(tmp_path))
    pulse.send(sender=None)
    assert (tmp_path / "worker").exists()


def test_daemons_that_have_ended_are_reaped() -> None:
    process = subprocess.Popen(["true"])
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, what="it has ended")
    pulse.send(sender=None)
    assert not psutil.pid_exists(process.pid)
    assert process.wait() == 0


def test_the_output_of_stuck_children_is_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage._mailboxes, "_waiting", {"a run that was stuck": 1})
    pulse.send(sender=None)
    assert salvage._mailboxes._waiting == {}


def test_nothing_of_the_service_depends_on_celerys_heartbeat() -> None:
    assert [uid for (uid, _), _ in heartbeat_sent.receivers if "jobledger" in str(uid)] == []
