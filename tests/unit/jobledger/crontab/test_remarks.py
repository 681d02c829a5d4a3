"""What is different once several lines are schedules."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobledger.crontab.lines import parse
from jobledger.crontab.review import Reading, review
from tests.unit.builders import override
from tests.unit.jobledger.schedules.builders import NOON

pytestmark = pytest.mark.django_db

PROBE = "/srv/app/manage.py probe"
EXCLUDE_EACH_OTHER = "start the same job, probe. Here, their runs exclude each other"


def warnings(*lines: str) -> Sequence[str]:
    reading = Reading(zone=ZoneInfo("UTC"), now=NOON, with_shell_commands=True)
    return review(parse("".join(f"{line}\n" for line in lines)), reading).warnings


def test_lines_whose_runs_exclude_each_other_are_warned_of() -> None:
    found = warnings(f"0 3 * * * {PROBE} a", f"0 3 * * * {PROBE} b", f"@daily {PROBE} --allow-overlap")
    assert any(each.startswith(f"Lines 1 and 2 {EXCLUDE_EACH_OTHER}") for each in found)


def test_duplicates_are_one_schedule_that_excludes_no_other() -> None:
    assert EXCLUDE_EACH_OTHER not in "".join(warnings(f"0 3 * * 0 {PROBE}", f"0 3 * * 7 {PROBE}"))


def test_lines_with_different_concurrency_keys_do_not_exclude_each_other(settings: Any) -> None:
    override(settings, SHELL_COMMANDS={"a": "ls a", "b": "ls b"})
    assert "exclude each other" not in "".join(warnings("@daily ls a", "@daily ls b", f"@daily {PROBE}"))
