"""The accounting of a soak notices what it is there for."""

from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from benchmarks.soak import accounting
from benchmarks.soak.accounting import Alerts, Memory, Report, Slots
from tests.integration.ledger import Audit
from tests.integration.slots import Span
from tests.unit.builders import NOON

SPAN = Span(since=NOON, until=NOON + timedelta(minutes=1))
EXPECTED = [(pk, slot) for pk in (1, 2) for slot in SPAN]

CLEAN = Report(
    seconds=60,
    machine="2 cores",
    faults={"beat killed": 2},
    slots=Slots(expected=122, recorded=122, missing=[], twice=0),
    audit=Audit(
        runs=122,
        statuses={"succeeded": 120, "lost": 2},
        attempts=122,
        executions=121,
        again=0,
        unfinished=0,
        twice=0,
        missing=0,
        unknown=0,
    ),
    reasons={"succeeded": 120, "lost: lost_process": 2},
    unexplained=0,
    alerts=Alerts(alerts=2, messages=1, requests=1, twice=0, undelivered=0, uncertain=0),
    memory={"beat": Memory(first=80, last=81, most=90)},
    bytes_per_run=5678.9,
)


def test_its_script_can_be_started() -> None:
    """It borrows from the tests, which may change."""
    assert import_module("benchmarks.soak.__main__").SCHEDULES


def test_a_minute_in_which_every_slot_has_its_run_is_clean() -> None:
    assert accounting.slots_of(EXPECTED, EXPECTED) == CLEAN.slots
    assert CLEAN.is_clean


def test_a_slot_without_a_run_is_missing() -> None:
    slots = accounting.slots_of(EXPECTED, EXPECTED[1:])
    assert (slots.missing, slots.recorded) == ([(1, NOON)], 121)
    report = replace(CLEAN, slots=slots)
    assert not report.is_clean
    assert f"Missing: schedule 1, {NOON.isoformat()}" in accounting.markdown(report)


def test_a_slot_with_two_runs_is_noticed() -> None:
    slots = accounting.slots_of(EXPECTED, [*EXPECTED, EXPECTED[0]])
    assert (slots.missing, slots.twice) == ([], 1)
    assert not replace(CLEAN, slots=slots).is_clean


def test_slots_after_the_end_are_left_out() -> None:
    later = (1, NOON + timedelta(minutes=2))
    assert accounting.slots_of(EXPECTED, [*EXPECTED, later]) == CLEAN.slots


@pytest.mark.parametrize("name", ["unfinished", "twice", "missing", "unknown"])
def test_whatever_the_audit_of_executions_finds_is_not_clean(name: str) -> None:
    found: dict[str, Any] = {name: 1}
    assert not replace(CLEAN, audit=replace(CLEAN.audit, **found)).is_clean


def test_a_run_that_did_not_succeed_needs_a_reason() -> None:
    runs = [("succeeded", ""), ("lost", "lost_process"), ("failed", ""), ("skipped", "overlap")]
    assert accounting.unexplained_of(runs) == 1
    assert not replace(CLEAN, unexplained=1).is_clean


@pytest.mark.parametrize(
    ("bodies", "messages", "twice"),
    [(["a", "b"], 2, 0), (["a", "a"], 2, 1), (["a", "b", "c"], 2, 1), ([], 0, 0), (["a"], 2, 0)],
)
def test_a_message_that_arrives_again_is_noticed(bodies: list[str], messages: int, twice: int) -> None:
    alerts = accounting.alerts_of(bodies, alerts=2, messages=messages, undelivered=0, uncertain=0)
    assert alerts.twice == twice
    assert replace(CLEAN, alerts=alerts).is_clean == (not twice)


@pytest.mark.parametrize(
    ("samples", "is_flat"),
    [([80.0] * 9, True), ([80, 80, 80, 90, 90, 90, 120, 120, 120], False), ([80], True)],
)
def test_memory_is_flat_if_it_has_not_grown_from_the_first_to_the_last_third(
    samples: list[float], is_flat: bool
) -> None:
    assert accounting.memory_of(samples).is_flat == is_flat


def test_the_report_says_whether_it_is_clean() -> None:
    page = accounting.markdown(CLEAN)
    assert "**Clean.** Faults: beat killed: 2." in page
    assert "| growth of the database per run, bytes | 5,679 |" in page
    assert "| beat | 80 | 81 | 90 | yes |" in page
    assert "**NOT clean.**" in accounting.markdown(replace(CLEAN, unexplained=1))
