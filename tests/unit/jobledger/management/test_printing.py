"""Long output is written as it is generated, and ends silently when the pipe is closed."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management.base import CommandError, OutputWrapper

from jobledger.management import printing
from tests.unit.jobledger.schedules.times import utc


def test_lines_are_written_one_after_another() -> None:
    stdout = io.StringIO()
    assert printing.write_lines(OutputWrapper(stdout), ["a", "b"])
    assert stdout.getvalue() == "a\nb\n"


def test_a_closed_pipe_ends_the_output_silently() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        assert not printing.write_lines(OutputWrapper(stdout), ["one line, which stays in the buffer"])


def test_no_more_lines_are_generated_after_the_pipe_is_closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    made = []

    def lines() -> Iterator[str]:
        while True:
            made.append(1)
            yield "x" * io.DEFAULT_BUFFER_SIZE

    with os.fdopen(writer, "w") as stdout:
        printing.write_lines(OutputWrapper(stdout), lines())
    assert len(made) < 10


def test_a_file_that_nobody_reads_to_its_end_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        printing.write_exactly(OutputWrapper(stdout), "0 3 * * * /srv/manage.py probe\n")


def test_a_full_disk_is_an_error_with_a_message() -> None:
    with Path("/dev/full").open("w") as stdout, pytest.raises(CommandError, match="No space left on device"):
        printing.write_lines(OutputWrapper(stdout), ["a line"])


def test_json_is_a_list_with_one_object_per_line() -> None:
    objects: list[dict[str, Any]] = [{"n": 1}, {"n": 2, "name": "Zürich"}, {"n": 3}]
    lines = list(printing.json_lines(objects))
    assert json.loads("\n".join(lines)) == objects
    assert len(lines) == 3
    assert "Zürich" in lines[1]


def test_json_of_nothing_is_an_empty_list() -> None:
    assert list(printing.json_lines([])) == ["[]"]


def test_json_is_not_held_back_until_the_last_object() -> None:
    endless = ({"n": 1} for _ in iter(int, 1))
    assert next(printing.json_lines(endless)) == '[{"n": 1},'


def test_line_breaks_in_cells_do_not_break_the_line() -> None:
    assert printing.tab_separated("a", "b\tc\r\nd") == "a\tb c  d"


def test_a_time_has_the_zones_offset() -> None:
    london = ZoneInfo("Europe/London")
    assert printing.iso_time(utc("2026-10-25 01:30"), london) == "2026-10-25T01:30:00+00:00"
    assert printing.iso_time(utc("2026-10-25 00:30"), london) == "2026-10-25T01:30:00+01:00"
