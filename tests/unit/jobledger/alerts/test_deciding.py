"""What a rule says about a sequence of runs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.alerts.deciding import (
    FAILURE_KINDS,
    RECOVERY,
    STABLE,
    WINDOW,
    Outcome,
    Saying,
    Streak,
    Terms,
    silent,
    step,
)
from jobledger.jobs.declaration import DEFAULT_ALERTS, AlertKind
from tests.unit.builders import NOON

KINDS = {
    "+": None,
    "f": AlertKind.FAILED,
    "t": AlertKind.TIMED_OUT,
    "l": AlertKind.LOST,
    "m": AlertKind.MISSED,
}
KINDS |= {"c": AlertKind.CANCELLED, "s": AlertKind.SKIPPED}
LETTERS = {kind: letter for letter, kind in KINDS.items() if kind}
LETTERS |= {AlertKind.RECOVERED: "R", AlertKind.FLAPPING: "F"}
EVERYTHING = (*DEFAULT_ALERTS, AlertKind.CANCELLED, AlertKind.SKIPPED)

histories = st.text(alphabet="+++fftlmcs", max_size=80)
terms_of_any_kind = st.builds(
    Terms,
    kinds=st.sampled_from(
        [DEFAULT_ALERTS, EVERYTHING, (AlertKind.LOST,), (AlertKind.FAILED, AlertKind.RECOVERED)]
    ),
    after_failures=st.integers(1, 4),
    every_failure=st.booleans(),
)


def told(history: str, terms: Terms | None = None) -> list[Saying | None]:
    """What is said after each of the runs, which are a minute apart."""
    streak, sayings = Streak(), []
    for minute, letter in enumerate(history):
        outcome = Outcome(kind=KINDS[letter], at=NOON + timedelta(minutes=minute))
        streak, saying = step(terms or Terms(), Streak.read(streak.as_json()), outcome)
        sayings.append(saying)
    return sayings


def letters(sayings: Sequence[Saying | None]) -> str:
    """One letter per run: what was said, or a dot."""
    return "".join(LETTERS[saying.kind] if saying else "." for saying in sayings)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("+++", "..."),
        ("f", "f"),
        ("ffff", "f..."),
        ("+ff+", ".f.R"),
        ("l+t+", "lRtR"),
        ("cs", ".."),
        ("fcs+", "f..R"),
    ],
)
def test_the_first_failure_and_the_recovery_are_told(history: str, expected: str) -> None:
    assert letters(told(history)) == expected


def test_a_rule_may_wait_for_several_failures_in_a_row() -> None:
    assert letters(told("ff+fffff+", Terms(after_failures=3))) == ".....f..R"


def test_a_rule_may_ask_for_every_failure() -> None:
    assert letters(told("fft+f+", Terms(every_failure=True))) == "fftRfR"


def test_cancelled_and_skipped_runs_are_told_only_if_that_is_asked_for() -> None:
    assert letters(told("c+s", Terms(kinds=EVERYTHING))) == "c.s"


def test_failures_that_the_rule_is_not_about_do_not_count() -> None:
    assert letters(told("flf+", Terms(kinds=(AlertKind.LOST,)))) == ".l.."


def test_a_recovery_says_how_many_runs_failed_and_since_when() -> None:
    recovered = told("+fff+")[-1]
    assert recovered
    assert recovered.facts["failures"] == 3
    assert recovered.facts["since"] == NOON + timedelta(minutes=1)


def test_flapping_is_told_once() -> None:
    assert letters(told("f+" * 20)) == "fRfRF" + "." * 35


@pytest.mark.parametrize("successes", range(1, RECOVERY))
def test_a_job_that_keeps_failing_after_some_successes_is_told_once_that_it_flaps(successes: int) -> None:
    assert letters(told(("f" + "+" * successes) * 20)).replace(".", "") == "fRfRF"


def test_a_job_that_flapped_and_then_fails_for_good_is_told_again() -> None:
    assert letters(told("f+f+f+fffff")) == "fRfRF.....f"


def test_failures_before_a_success_are_not_in_a_row() -> None:
    saying = told("f+f+f+f+f+fffff")[-1]
    assert saying
    assert (saying.kind, saying.facts["failures"]) == (AlertKind.FAILED, STABLE)


def test_failures_of_several_kinds_are_told_as_such() -> None:
    terms = Terms(after_failures=3)
    mixed, same, again = told("fft", terms)[-1], told("ttt", terms)[-1], told("fft+ttt", terms)[-1]
    assert mixed
    assert (mixed.kind, mixed.facts["failures"], mixed.facts["is_mixed"]) == (AlertKind.TIMED_OUT, 3, True)
    assert same
    assert "is_mixed" not in same.facts
    assert again
    assert "is_mixed" not in again.facts


def test_a_job_that_flapped_and_then_works_has_recovered() -> None:
    sayings = told("f+f+f+f" + "+" * RECOVERY)
    assert letters(sayings) == "fRfRF.." + "." * (RECOVERY - 1) + "R"
    assert sayings[-1]
    assert sayings[-1].facts == {
        "failures": 2,
        "since": NOON + timedelta(minutes=4),
        "was_flapping": True,
    }


def test_failures_that_are_far_apart_are_not_flapping() -> None:
    history = ("f" + "+" * WINDOW) * 5
    assert letters(told(history)).replace(".", "") == "fR" * 5


def test_several_missed_runs_at_once_are_told_once_and_all_count() -> None:
    streak, saying = step(Terms(), Streak(), Outcome(kind=AlertKind.MISSED, at=NOON, count=500))
    assert saying == Saying(kind=AlertKind.MISSED, facts={"failures": 500, "since": NOON, "count": 500})
    assert streak.failures == 500


def test_a_success_after_silence_is_a_recovery() -> None:
    since = NOON - timedelta(days=3)
    _streak, saying = step(Terms(), silent(Streak(), since), Outcome(kind=None, at=NOON))
    assert saying
    assert (saying.kind, saying.facts["since"], saying.facts["failures"]) == (AlertKind.RECOVERED, since, 0)


@given(histories, terms_of_any_kind)
def test_a_recovery_is_told_only_after_a_failure_that_was_told(history: str, terms: Terms) -> None:
    words = letters(told(history, terms)).replace(".", "").replace("c", "").replace("s", "")
    assert not words.startswith("R")
    assert "RR" not in words


@given(histories, terms_of_any_kind)
def test_every_failure_is_told_if_that_is_asked_for(history: str, terms: Terms) -> None:
    if not terms.every_failure:
        return
    failures = 0
    for letter, saying in zip(history, told(history, terms), strict=True):
        kind = KINDS[letter]
        if kind in FAILURE_KINDS and kind in terms.kinds:
            failures += 1
            assert (saying is not None) is (failures >= terms.after_failures)
        elif kind is None:
            failures = 0


def test_a_job_that_is_down_for_long_is_no_longer_flapping() -> None:
    assert letters(told("f+f+f+" + "f" * WINDOW + "+")).replace(".", "") == "fRfRFfR"


@given(histories, terms_of_any_kind)
def test_between_two_successes_at_most_one_failure_is_told(history: str, terms: Terms) -> None:
    if terms.every_failure:
        return
    words = "".join(
        saying if letter != "+" else "+"
        for letter, saying in zip(history, letters(told(history, terms)), strict=True)
    )
    for stretch in words.split("+"):
        # A flapping job that turns out to be down is told a second time.
        assert len(stretch.replace(".", "").replace("c", "").replace("s", "")) <= 2


@given(histories, terms_of_any_kind)
def test_nothing_is_told_before_enough_runs_have_failed(history: str, terms: Terms) -> None:
    for saying in told(history, terms):
        if saying and saying.kind in FAILURE_KINDS:
            assert saying.facts["failures"] >= terms.after_failures


@given(st.text(alphabet="+f", min_size=WINDOW, max_size=100))
def test_however_a_job_alternates_only_few_messages_are_sent(history: str) -> None:
    words = letters(told(history))
    for start in range(len(history) - WINDOW + 1):
        assert len(words[start : start + WINDOW].replace(".", "")) <= 2 * WINDOW // STABLE


@given(histories, terms_of_any_kind)
def test_what_is_remembered_survives_the_database(history: str, terms: Terms) -> None:
    streak = Streak()
    for letter in history:
        streak, _ = step(terms, streak, Outcome(kind=KINDS[letter], at=NOON))
        assert Streak.read(streak.as_json()) == streak
        assert len(streak.recent) <= WINDOW


@given(histories, terms_of_any_kind)
def test_after_enough_successes_nothing_is_remembered(history: str, terms: Terms) -> None:
    streak = Streak()
    for letter in history + "+" * WINDOW:
        streak, _ = step(terms, streak, Outcome(kind=KINDS[letter], at=NOON))
    assert streak == Streak()


@pytest.mark.parametrize(
    "stored",
    [
        {"failures": "3", "kind": 5, "recent": ["-"], "is_told": "yes"},
        {"since": 5},
        {"since": "yesterday"},
        {"since": "2026-03-01T12:00:00"},
        {"failures": None, "since": {}},
    ],
)
def test_what_cannot_be_read_of_a_streak_is_forgotten(stored: dict[str, Any]) -> None:
    assert Streak.read(stored) == Streak()
