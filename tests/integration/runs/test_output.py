"""Progress and output of running runs, as recorded in the database."""

import subprocess
import sys
import time

import pytest

from tests.integration.command_line import newest_from_command_line
from tests.integration.ledger import (
    call,
    call_lasting,
    let_end,
    output_of,
    output_size,
    run_row,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
)
from tests.integration.service import ROOT, Service
from tests.waiting import wait_until

pytestmark = pytest.mark.takes_long

LIMIT_BYTES = 1024 * 1024
PRINTED_MEGABYTES = 100
# Enough for the output that is kept and some copies of it, but far less than what is printed.
MAX_GROWTH_KIB = 30 * 1024
# A lease is renewed later than that.
SHOWN_WITHIN_SECONDS = 10.0


def test_progress_and_output_are_visible_while_the_job_runs(running: Service) -> None:
    pk = call_lasting(running, "lasting", tenant="live")
    wait_for_start(running, pk)
    begin = time.monotonic()
    wait_until(lambda: output_of(running, pk) == "working on attempt 1\n")
    shown = time.monotonic() - begin
    wait_until(lambda: (row := run_row(running, pk)) and row.progress_done)
    counted = time.monotonic() - begin
    row = wait_for_status(running, pk, "running")
    assert row.progress_total == 6000
    with let_end(running, "lasting"):
        wait_for_end(running, pk)
    print(f"output after {shown:.2f} s, progress after {counted:.2f} s")
    assert max(shown, counted) < SHOWN_WITHIN_SECONDS


def test_large_output_fills_neither_the_database_nor_the_memory(running: Service) -> None:
    pk = call(running, "printing", megabytes=PRINTED_MEGABYTES)
    assert wait_for_end(running, pk).status == "succeeded"
    done = subprocess.run(
        (sys.executable, "manage.py", "printing", "--megabytes", str(PRINTED_MEGABYTES)),
        cwd=ROOT,
        env=running.environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    (worker,), (command,) = (
        [trace.what for trace in traces(running, each, "seconds=")]
        for each in (pk, newest_from_command_line(running, "printing"))
    )
    count, length = output_size(running, pk)
    print(f"{count} rows, {length:,} characters; by the worker {worker}, by command to /dev/null {command}")
    assert count <= 40
    assert length <= LIMIT_BYTES + 100
    assert "bytes omitted" in output_of(running, pk)
    assert max(growth_kib(worker), growth_kib(command)) < MAX_GROWTH_KIB


def growth_kib(trace: str) -> int:
    """How much memory the process gained while the job was printing, according to its trace."""
    return int(trace.rpartition("kib=")[2])


def test_unusual_characters_are_kept_readable(running: Service) -> None:
    pk = call(running, "printing", odd=True)
    assert wait_for_end(running, pk).status == "succeeded"
    assert output_of(running, pk).splitlines() == [
        r"bad \udcff\udcfe byte",
        "a␀b",
        r"lone \ud800 surrogate",
        "snake 🐍",
        "\x1b[31mred\x1b[0m",
    ]


def test_a_very_long_line_is_kept_at_both_ends(running: Service) -> None:
    pk = call(running, "printing", long_line=5 * LIMIT_BYTES)
    assert wait_for_end(running, pk).status == "succeeded"
    count, length = output_size(running, pk)
    assert count <= 40
    assert length <= LIMIT_BYTES + 100
    assert output_of(running, pk).endswith("y\n")


def test_a_full_disk_is_a_clear_failure(running: Service) -> None:
    row = wait_for_end(running, call(running, "printing", full_disk=True))
    assert (row.status, row.exit_code) == ("failed", 1)
    assert row.error == "OSError: [Errno 28] No space left on device"


def test_a_full_disk_below_stdout_on_the_command_line_is_a_clear_failure(running: Service) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            (sys.executable, "manage.py", "printing", "--odd"),
            cwd=ROOT,
            env={**running.environment, "PYTHONIOENCODING": "utf-8:replace"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    row = wait_for_end(running, newest_from_command_line(running, "printing"))
    assert row.status == "failed"
    assert "No space left on device" in row.error
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
