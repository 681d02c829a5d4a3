from datetime import timedelta

import pytest

from jobledger.jobs.declaration import Misfire
from jobledger.reason import Reason
from jobledger.schedules.planning.policy import PausePeriod, Policy
from tests.unit.jobledger.schedules.times import utc

SECOND, NOTHING = timedelta(seconds=1), timedelta(0)
PAUSE = PausePeriod(since=utc("2026-05-01 12:00"), until=utc("2026-05-01 13:00"))


def test_the_default_policy_runs_late_slots_once_without_deadline_or_jitter() -> None:
    policy = Policy()
    assert policy.misfire is Misfire.ONCE
    assert policy.starting_deadline is None
    assert policy.jitter == NOTHING


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("catch_up_limit", lambda: Policy(catch_up_limit=0)),
        ("catch_up_limit", lambda: Policy(catch_up_limit=10_001)),
        ("jitter", lambda: Policy(jitter=-SECOND)),
        ("misfire_grace", lambda: Policy(misfire_grace=NOTHING)),
        ("starting_deadline", lambda: Policy(starting_deadline=NOTHING)),
    ],
)
def test_an_invalid_value_is_rejected(field: str, make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()


@pytest.mark.parametrize(
    ("time", "is_covered"),
    [("11:59:59", False), ("12:00", True), ("12:59:59", True), ("13:00", False)],
)
def test_a_pause_includes_its_start_but_not_its_end(time: str, is_covered: bool) -> None:
    assert PAUSE.covers(utc(f"2026-05-01 {time}")) is is_covered


def test_an_open_ended_pause_never_ends() -> None:
    assert PausePeriod(since=utc("2026-05-01")).covers(utc("2036-05-01"))


def test_a_pause_requires_aware_datetimes() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        PausePeriod(since=utc("2026-05-01").replace(tzinfo=None))


@pytest.mark.parametrize(
    ("reason", "user", "facts"),
    [
        ("database moves", "ann", {"user": "ann", "comment": "database moves"}),
        ("database moves", "", {"comment": "database moves"}),
        ("", "ann", {"user": "ann"}),
        ("", "", {}),
    ],
)
def test_a_pause_has_its_reason_and_user(reason: str, user: str, facts: dict[str, str]) -> None:
    why = PausePeriod(since=utc("2026-05-01"), reason=reason, user=user).why(Reason.PAUSED)
    assert (why.reason, why.details) == (Reason.PAUSED, facts)
