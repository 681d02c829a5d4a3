"""Jobs that wait share one process, and nothing of one is seen in another."""

import json
import re
import shlex
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from tests.integration.database import is_sqlite, rows
from tests.integration.ledger import (
    call,
    child_of,
    output_of,
    run_rows,
    wait_for_end,
    wait_for_start,
    wait_for_status,
)
from tests.integration.service import ROOT, Service
from tests.integration.threads.workers import THREADS, end_file, lines_of, open_connections
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database

MAX_LEDGER_CONNECTIONS = 9
"""Those that the threads share, and the heartbeats' own."""
ONCE = ["printed", "on stderr", "by the command", "logged", "by a thread", "by an executor"]
TIME = re.compile(r"^[\d-]{10} [\d:,]{12} (WARNING \S+: )")


def words_of(running: Service, pk: UUID) -> list[str]:
    """What a job has written, without times, and without the warnings, which Python gives once a process."""
    lines = [TIME.sub("", line) for line in lines_of(running, pk)]
    return [line for line in lines if "warn" not in line and line]


def test_a_hundred_jobs_that_wait_are_executed_by_one_process_each_with_its_own_output(
    running: Service, worker: str
) -> None:
    with end_file(running, "go") as go:
        pks = _all_waiting(running, worker, go)
    ended = [wait_for_end(running, pk) for pk in pks]
    assert {row.status for row in ended} == {"succeeded"}
    for number, pk in enumerate(pks):
        mine = [f"w{number} {each}" for each in ONCE]
        assert words_of(running, pk) == [*mine, *mine, f"w{number} cleanup"]
    assert "printed" not in running.log(worker)


def _all_waiting(running: Service, worker: str, go: Path) -> list[UUID]:
    """Start the jobs, and look at the worker while they wait."""
    pks = [call(running, "waiting", word=f"w{number}", until=str(go)) for number in range(THREADS)]
    for pk in pks:
        wait_for_start(running, pk)
    pid = running.processes[worker].pid
    assert {row.worker for row in run_rows(running, "status = 'running'")} == {f"{worker}@here:{pid}"}
    assert psutil.Process(pid).children() == []
    if not is_sqlite(running):
        # Those of beat, of the worker's main loop and of this test, too, whose last ones may be about to end.
        wait_until(lambda: open_connections(running) <= MAX_LEDGER_CONNECTIONS + 5, what="they share")
    return pks


def test_the_failure_of_one_is_only_its_own(running: Service, worker: str) -> None:
    with end_file(running, "go on") as go:
        other = call(running, "waiting", until=str(go))
        wait_for_start(running, other)
        failed = wait_for_end(running, call(running, "waiting", fail="no such host"))
        assert (failed.status, failed.exit_code, failed.error) == ("failed", 1, "no such host")
        wait_for_status(running, other, "running")
    assert wait_for_end(running, other).status == "succeeded"


def test_a_job_that_must_not_overlap_does_not(running: Service, worker: str) -> None:
    with end_file(running, "first may end") as go:
        first = call(running, "lasting", seconds=600, until=str(go), tenant="threads")
        wait_for_start(running, first)
        second = wait_for_end(running, call(running, "lasting", seconds=0, tenant="threads"))
        assert (second.status, second.reason) == ("skipped", "overlap")
    assert wait_for_end(running, first).status == "succeeded"


def test_a_job_that_another_one_calls_is_a_run_with_an_output_of_its_own(
    running: Service, worker: str
) -> None:
    pk = call(running, "waiting", word="outer", calls="waiting")
    assert wait_for_end(running, pk).status == "succeeded"
    inner = child_of(running, pk)
    assert "word printed" in output_of(running, inner.pk)
    assert "word printed" not in output_of(running, pk)
    assert lines_of(running, pk)[-1] == "outer cleanup"


def test_a_coroutine_is_awaited(running: Service, worker: str) -> None:
    pk = call(running, "asynchronous", app_label="shapes")
    assert wait_for_end(running, pk).status == "succeeded"
    assert output_of(running, pk) == "1 of this run\n"


def test_an_isolated_job_has_a_process_of_its_own_whose_end_is_known(running: Service, worker: str) -> None:
    killed = wait_for_end(running, call(running, "isolated", seconds=0, signal="SIGKILL"))
    assert (killed.status, killed.reason, killed.exit_code) == ("failed", "signal", 137)
    written = next(line for line in lines_of(running, killed.pk) if line.startswith("{"))
    process = json.loads(written)
    assert process["parent"] == running.processes[worker].pid
    assert process["pid"] != process["parent"]
    # From a process that was started for it, also what the job had not flushed.
    assert "about to end" in output_of(running, killed.pk)


def test_a_memory_limit_is_enforced_in_a_process_of_its_own(running: Service, worker: str) -> None:
    row = wait_for_end(running, call(running, "allocating", megabytes=600, seconds=600))
    assert (row.status, row.reason) == ("failed", "memory_limit")
    assert f"process {running.processes[worker].pid}" not in output_of(running, row.pk)


def test_only_what_is_known_of_a_thread_is_recorded(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=0.3, busy=True)
    wait_for_end(running, pk)
    ((memory, cpu),) = rows(
        running,
        "SELECT peak_memory_bytes, cpu_seconds FROM jobledger_run WHERE id = ?",
        pk.hex if is_sqlite(running) else pk,
    )
    assert memory is None
    assert cpu > 0


def test_an_ordinary_celery_task_is_executed_as_always(running: Service, worker: str) -> None:
    succeeded = running.shell(
        "from tests.probes.tasks import add; print(add.delay(2, 3).get(timeout=60))"
    ).strip()
    assert succeeded == "5"


def test_the_worker_of_the_manual_reads_its_queue(running: Service) -> None:
    page = (ROOT / "docs" / "how-to" / "run-jobs-in-threads.md").read_text()
    (line,) = re.findall(r"`celery -A proj (worker .*)`", page)
    running.start("manual", *running.celery_command, *shlex.split(line), "--loglevel", "INFO")
    try:
        wait_until(lambda: "ready." in running.log("manual"), what="the worker is ready")
        assert re.search(r"concurrency: 100 \(thread_pool\)", running.log("manual"))
        assert re.search(r"\.> network +exchange", running.log("manual"))
    finally:
        assert running.stop("manual") == 0
