"""All that jobs write is on their runs, and the worker's log does not fill with it."""

import re
from uuid import UUID

from tests.integration.ledger import call, output_of, run_rows, wait_for_end
from tests.integration.service import Service


def lines_of(running: Service, pk: UUID) -> list[str]:
    """The lines of the run's output, without dates, folders and numbers of lines."""
    return [
        re.sub(r"^[-0-9: ,]{23} |/\S*/|(?<=py):\d+", "", line) for line in output_of(running, pk).splitlines()
    ]


WRITTEN = [
    "self.stdout",
    "print",
    "subprocess",
    "self.stderr",
    "WARNING anything: logging",
    "WARNING py.warnings: writing.py: UserWarning: warning",
    '  warnings.warn("warning", UserWarning, stacklevel=1)',
    "",
    "descriptor",
    "sys.stderr",
    "C library",
]


def test_all_that_a_job_writes_is_on_its_run_and_not_in_the_workers_log(running: Service) -> None:
    before = len(running.log("worker"))
    pk = call(running, "writing", leave=True, child=True)
    assert wait_for_end(running, pk).status == "succeeded"
    assert lines_of(running, pk) == WRITTEN
    (child,) = run_rows(running, "job = 'probe' AND trigger = 'job'")
    assert output_of(running, child.pk) == "of the child\n"
    log = running.log("worker")[before:]
    print(log)
    assert not [line for line in log.splitlines() if str(pk) not in line]
    assert len([line for line in log.splitlines() if str(pk) in line]) == 2


def test_the_last_bytes_of_a_killed_job_are_on_its_run(running: Service) -> None:
    pk = call(running, "writing", kill=True)
    assert wait_for_end(running, pk).status == "lost"
    assert lines_of(running, pk) == [*WRITTEN, "last words", "last words of C"]


def test_a_gigabyte(running: Service) -> None:
    pk = call(running, "writing", megabytes=1000)
    assert wait_for_end(running, pk).status == "succeeded"
