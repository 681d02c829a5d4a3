"""How long, why, and what becomes of the slots."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from tasks_app.jobs.admin import pause_words
from tasks_app.jobs.admin.pause_form import LENGTHS, PauseForm
from tasks_app.jobs.scheduling.policy import PausedSlots
from tests.unit.jobs.scheduling.builders import NOON

ANN = User(username="ann")


def form(**values: str) -> PauseForm:
    return PauseForm({"length": "1h", "on_resume": "skip", **values}, now=NOON)


def test_a_length_counts_from_now() -> None:
    asked = form(length="4h", reason="move", on_resume="once")
    assert asked.is_valid()
    terms = asked.terms(ANN)
    assert (terms.until, terms.reason) == (NOON + timedelta(hours=4), "move")
    assert terms.on_resume is PausedSlots.RUN_ONCE
    assert (terms.who, terms.user) == ("ann", ANN)
    assert pause_words.told(terms.until, reason=terms.reason) == "until 2026-03-02 16:00:00 UTC: move"


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_that_is_offered_has_an_end(length: str) -> None:
    asked = form(length=length)
    assert asked.is_valid()
    assert (asked.terms(ANN).until or NOON) > NOON


def test_it_may_last_until_somebody_resumes_it() -> None:
    asked = form(length="open")
    assert asked.is_valid()
    assert asked.terms(ANN).until is None
    assert pause_words.told(None, reason="") == "until somebody resumes it"


def test_it_may_end_at_a_moment() -> None:
    asked = form(length="moment", until="2026-03-02T18:30")
    assert asked.is_valid()
    assert asked.terms(ANN).until == NOON + timedelta(hours=6, minutes=30)


def test_a_moment_counts_only_where_it_is_chosen() -> None:
    asked = form(length="1h", until="2020-01-01T00:00")
    assert asked.is_valid()
    assert asked.terms(ANN).until == NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("until", "said"),
    [("", "Say until when."), ("2026-03-02T12:00", "is not in the future"), ("soon", "no moment")],
)
def test_a_moment_that_is_no_end_is_refused(until: str, said: str) -> None:
    asked = form(length="moment", until=until)
    assert not asked.is_valid()
    assert said in str(asked.errors["until"])


def test_a_reason_that_cannot_be_kept_is_refused() -> None:
    assert "reason" in form(reason="x" * 501).errors
