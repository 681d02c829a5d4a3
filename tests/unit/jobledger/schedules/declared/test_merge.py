"""The three-way merge: whoever changed a field alone gets their value, and nobody's edit is lost."""

from dataclasses import asdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobledger.schedules.declared.merge import FIELDS, UNKNOWN, State, Values, equal, merge, unit_of

TIMINGS = st.sampled_from(
    [
        ({"cron": "0 3 * * *"}, "UTC"),
        ({"cron": "0 4 * * *"}, "Europe/London"),
        ({"cron": "0 3 * * *"}, "Europe/London"),
        ({"seconds": 900}, ""),
        (None, ""),
    ]
)
JOBS = st.sampled_from(["app.one", "app.two"])
OPTIONS = st.sampled_from([{}, {"days": 1}, {"days": True}, "not JSON"])


@st.composite
def values(draw: st.DrawFn) -> Values:
    timing, zone = draw(TIMINGS)
    return Values(
        job=draw(JOBS),
        options=draw(OPTIONS),
        timing=timing,
        timezone=zone,
        enabled=draw(st.booleans()),
        description=draw(st.sampled_from(["", "a"])),
        queue=draw(st.sampled_from(["", "slow"])),
        priority=draw(st.sampled_from([None, 0, 5])),
        jitter=draw(st.sampled_from([0.0, 60.0])),
    )


@st.composite
def baselines(draw: st.DrawFn) -> Values:
    """Some of whose fields were never applied."""
    unknown = draw(st.sets(st.sampled_from(FIELDS)))
    return Values(**{**asdict(draw(values())), **dict.fromkeys(unknown, UNKNOWN)})


def same(one: Values, other: Values, field: str) -> bool:
    return equal(getattr(one, field), getattr(other, field))


@given(code=values(), stored=values(), baseline=baselines())
def test_every_field_has_the_value_of_whoever_changed_it(
    code: Values, stored: Values, baseline: Values
) -> None:
    result = merge(code=code, stored=stored, baseline=baseline)
    for field in FIELDS:
        unit = unit_of(field, code, stored, baseline)
        is_edited = not all(same(stored, baseline, name) for name in unit)
        is_new = not all(same(code, baseline, name) for name in unit)
        expected = code if not is_edited else stored
        assert same(result.values, expected, field)
        if not same(code, stored, field):
            state = {(False, True): State.CODE, (True, False): State.EDITED, (True, True): State.DRIFT}
            assert result.states[field] is state[is_edited, is_new]
        else:
            assert result.states[field] is State.SAME


@given(code=values(), stored=values(), baseline=baselines())
def test_merging_again_changes_nothing_and_reports_the_same_drift(
    code: Values, stored: Values, baseline: Values
) -> None:
    first = merge(code=code, stored=stored, baseline=baseline)
    second = merge(code=code, stored=first.values, baseline=first.baseline)
    assert (second.values, second.baseline) == (first.values, first.baseline)
    assert second.fields_in(State.CODE) == []
    assert second.fields_in(State.DRIFT) == first.fields_in(State.DRIFT)
    assert second.fields_in(State.EDITED) == first.fields_in(State.EDITED)


@given(code=values(), stored=values(), baseline=baselines(), later=values())
def test_an_edit_outlives_any_number_of_changes_of_the_code(
    code: Values, stored: Values, baseline: Values, later: Values
) -> None:
    first = merge(code=code, stored=stored, baseline=baseline)
    second = merge(code=later, stored=first.values, baseline=first.baseline)
    for field in first.fields_in(State.DRIFT):
        if field not in ("timing", "timezone", "job", "options") and not same(later, stored, field):
            assert same(second.values, stored, field)


@given(code=values(), stored=values())
def test_what_was_applied_and_not_edited_follows_the_code(code: Values, stored: Values) -> None:
    result = merge(code=code, stored=stored, baseline=stored)
    assert (result.values, result.baseline) == (code, code)
    assert result.fields_in(State.DRIFT, State.EDITED) == []


@given(values())
def test_a_timing_and_its_zone_never_contradict_each_other(stored: Values) -> None:
    code = Values(**{**asdict(stored), "timing": {"seconds": 60}, "timezone": ""})
    baseline = Values(**{**asdict(stored), "timing": {"cron": "1 1 * * *"}, "timezone": "UTC"})
    for merged in (
        merge(code=code, stored=stored, baseline=baseline).values,
        merge(code=stored, stored=code, baseline=baseline).values,
    ):
        is_cron = isinstance(merged.timing, dict) and "cron" in merged.timing
        assert is_cron == bool(merged.timezone)


def a(**changes: Any) -> Values:
    start = {"job": "app.one", "options": {}, "timing": {"cron": "0 3 * * *"}, "timezone": "UTC"}
    return Values(**{**start, "enabled": True, "description": "", **changes})


def test_a_zone_and_an_expression_are_merged_separately() -> None:
    code, stored = a(timezone="Europe/London"), a(timing={"cron": "0 4 * * *"})
    result = merge(code=code, stored=stored, baseline=a())
    assert (result.values.timing, result.values.timezone) == ({"cron": "0 4 * * *"}, "Europe/London")
    assert result.fields_in(State.DRIFT) == []


def test_options_follow_their_job() -> None:
    code, stored = a(job="app.two"), a(options={"days": 1})
    result = merge(code=code, stored=stored, baseline=a())
    assert (result.values.job, result.values.options) == ("app.one", {"days": 1})
    assert result.fields_in(State.DRIFT) == ["job", "options"]


def test_the_same_change_in_both_is_no_drift() -> None:
    result = merge(code=a(queue="slow"), stored=a(queue="slow"), baseline=a())
    assert result.baseline == a(queue="slow")
    assert result.fields_in(State.DRIFT, State.EDITED, State.CODE) == []


def test_a_field_that_the_baseline_lacks_had_its_default() -> None:
    known = {name: value for name, value in a().as_json().items() if name != "queue"}
    assert Values.from_json(known) == a()


def test_a_baseline_that_cannot_be_read_keeps_every_difference_for_a_user_to_decide() -> None:
    older: list[Any] = [{}, None, [], {"job": "x", "cron": "0 3 * * *", "every_seconds": None}]
    for unreadable in older:
        result = merge(
            code=a(timing={"cron": "1 1 * * *"}), stored=a(), baseline=Values.from_json(unreadable)
        )
        assert (result.values, result.fields_in(State.DRIFT)) == (a(), ["timing"])
