"""Two versions with one database and one queue: an upgrade without a stop, and the way back."""

import sys
from collections.abc import Iterator

import pytest

from tests.integration.database import rows
from tests.integration.ledger import call, wait_for_end
from tests.integration.schedules.beats import REPUBLISH, newer_slot, settled, this_second
from tests.integration.service import Service, service
from tests.integration.slots import SECOND, Span, newest_slot, perfect, schedule_every_second
from tests.waiting import DEADLINE_SECONDS, wait_until

NEW = {"DJANGO_SETTINGS_MODULE": "tests.future.settings"}


@pytest.fixture
def running() -> Iterator[Service]:
    """A service of the present version, called old here."""
    with service(**REPUBLISH) as started:
        started.start_worker("old")
        started.start_beat("old-beat")
        yield started


def workers_of(running: Service, name: str) -> set[str]:
    """The workers that have executed runs of these schedules."""
    found = rows(running, "SELECT DISTINCT worker FROM jobledger_run WHERE schedule_name LIKE ?", f"{name}%")
    return {worker.partition("@")[0] for (worker,) in found if worker}


def test_both_work_during_an_upgrade_and_on_the_way_back(running: Service) -> None:
    a_new_worker_waits_for_the_migration_while_the_old_one_works(running)
    after_the_migration_both_work_and_every_slot_runs_once(running)
    the_old_version_goes_on_with_the_migrated_database(running)


def a_new_worker_waits_for_the_migration_while_the_old_one_works(running: Service) -> None:
    running.start_worker("new", **NEW)
    assert "lacks migrations of this version: jobledger.0002_run_remark. Run" in running.log("new")
    ended = [wait_for_end(running, call(running, "probe", words=["hello"])) for _ in range(3)]
    assert {(row.status, row.worker.partition("@")[0]) for row in ended} == {("succeeded", "old")}


def after_the_migration_both_work_and_every_slot_runs_once(running: Service) -> None:
    migrating = running.start("migrate", sys.executable, "manage.py", "migrate", "--verbosity", "0", **NEW)
    assert migrating.wait(DEADLINE_SECONDS) == 0, running.log("migrate")
    running.start_beat("new-beat", **NEW)
    schedule_every_second(running, "both", count=3)
    since = wait_until(lambda: newest_slot(running, "both"), what="a run succeeds") + SECOND
    wait_until(lambda: workers_of(running, "both") == {"old", "new"}, what="both have executed runs")
    until = wait_until(lambda: newer_slot(running, "both", since + SECOND), what="there are several slots")
    span = Span(since=since, until=until)
    assert settled(running, "both", span) == perfect(len(span) * 3)


def the_old_version_goes_on_with_the_migrated_database(running: Service) -> None:
    for name in ("new", "new-beat"):
        running.stop(name)
    stopped = this_second()
    until = wait_until(lambda: newer_slot(running, "both", stopped + SECOND), what="runs succeed")
    span = Span(since=stopped + SECOND, until=until)
    assert settled(running, "both", span) == perfect(len(span) * 3)
    checked = running.manage("migrate", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "lacks migrations" not in running.log("old") + running.log("old-beat")
