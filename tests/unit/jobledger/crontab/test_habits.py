"""Crontabs of every habit, ``habits/NAME.crontab``, and what is reported about them, ``habits/NAME.txt``."""

import io
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.management import CommandError, call_command

from jobledger.crontab.lines import decoded, encoded, parse
from jobledger.crontab.review import Reading, review
from jobledger.crontab.wrapping import wrap
from tests.unit.jobledger.schedules.builders import NOON

HABITS = sorted((Path(__file__).parent / "habits").glob("*.crontab"))


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture(autouse=True)
def settings_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")


def is_system(path: Path) -> bool:
    return path.name.startswith("system")


def report_on(path: Path) -> str:
    """What is printed, and the error if nothing can be imported."""
    stdout, stderr = io.StringIO(), io.StringIO()
    options = ["--system"] if is_system(path) else []
    line = ["import_crontab", str(path), "--dry-run", "--tz", "UTC", *options]
    try:
        call_command("jobledger", *line, stdout=stdout, stderr=stderr, no_color=True)
    except CommandError as error:
        stderr.write(f"{error}\n")
    return f"{stdout.getvalue()}---\n{stderr.getvalue()}"


@pytest.mark.django_db
@pytest.mark.one_database
@pytest.mark.parametrize("path", HABITS, ids=lambda path: path.stem)
def test_a_crontab_of_this_habit_has_this_report(path: Path) -> None:
    assert report_on(path) == path.with_suffix(".txt").read_text()


@pytest.mark.django_db
@pytest.mark.one_database
@pytest.mark.parametrize("path", HABITS, ids=lambda path: path.stem)
def test_its_wrapped_lines_become_the_same_schedules(path: Path) -> None:
    text = decoded(path.read_bytes())
    wrapped = wrap(text, "/srv/app/manage.py jobledger wrap --", is_system=is_system(path))
    assert planned(wrapped.text, path) == planned(text, path)


def planned(text: str, path: Path) -> list[tuple[object, ...]]:
    """The lines that become schedules, and what these mean."""
    reading = Reading(zone=ZoneInfo("UTC"), now=NOON, is_system=is_system(path))
    findings = review(parse(text, is_system=is_system(path)), reading).findings
    return [
        (each.line.number, each.schedule, *each.plan.meaning, each.plan.concurrency, each.plan.time_limit)
        for each in findings
        if each.plan
    ]


@pytest.mark.parametrize("path", HABITS, ids=lambda path: path.stem)
def test_it_can_be_written_again_byte_by_byte(path: Path) -> None:
    content = path.read_bytes()
    lines = parse(decoded(content), is_system=is_system(path))
    assert encoded("".join(line.source for line in lines)) == content
