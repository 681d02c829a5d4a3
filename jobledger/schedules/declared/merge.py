"""The three-way merge of a declared schedule, field by field. Pure.

Of the three, *code* is what is declared now, *stored* is what the database has, where users may have edited
it, and *baseline* is what was declared when the code was last applied. Whoever changed a field alone gets
their value. If both did, the user's value stays and the baseline too, so that the drift is reported until
somebody resolves it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

UNKNOWN: list[Any] = []
"""The baseline of a field that was never applied. No field has this value."""


class State(StrEnum):
    """How a field's stored value relates to the code's."""

    SAME = "same"
    CODE = "code"
    """Changed in the code only: the code's value is to be applied."""
    EDITED = "edited"
    """Changed in the admin only."""
    DRIFT = "drift"
    """Changed in both, in different ways."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a schedule can declare, as JSON values."""

    job: Any
    """The name of its Celery task."""
    options: Any
    timing: Any
    """``{"cron": …}``, ``{"seconds": …}``, ``{"at": …}`` or ``{"solar": …}``; None if it cannot be read."""
    timezone: Any
    """Empty, unless the timing is a cron expression."""
    enabled: Any
    description: Any
    queue: Any = ""
    priority: Any = None
    misfire: Any = "once"
    catch_up_limit: Any = 100
    starting_deadline: Any = None
    """In seconds."""
    jitter: Any = 0.0
    """In seconds."""
    concurrency: Any = ""
    time_limit: Any = None
    """In seconds."""
    time_limit_grace: Any = None
    """In seconds."""
    not_on: Any = field(default_factory=list)
    """Names of calendars, sorted."""
    only_on: Any = field(default_factory=list)
    left_out: Any = "skip"

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """A stored baseline, whatever it is. A field that it lacks could not be declared at that time."""
        known = stored if isinstance(stored, dict) else {}
        unknown = dict.fromkeys(("job", "options", "timing", "timezone", "enabled", "description"), UNKNOWN)
        return cls(**{**unknown, **{name: known[name] for name in FIELDS if name in known}})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


FIELDS = tuple(each.name for each in fields(Values))


@dataclass(frozen=True, kw_only=True)
class Merge:
    """The outcome of a merge."""

    values: Values
    """What is to be stored."""
    baseline: Values
    states: dict[str, State]

    def fields_in(self, *states: State) -> list[str]:
        return [name for name in FIELDS if self.states[name] in states]


def merge(*, code: Values, stored: Values, baseline: Values) -> Merge:
    """Merge all fields."""
    states: dict[str, State] = {}
    values, new_baseline = stored, baseline
    for unit in units(code, stored, baseline):
        state = _state(_of(code, unit), _of(stored, unit), _of(baseline, unit))
        for name in unit:
            states[name] = State.SAME if equal(getattr(code, name), getattr(stored, name)) else state
        if state in (State.SAME, State.CODE):
            values, new_baseline = taken(values, code, unit), taken(new_baseline, code, unit)
    return Merge(values=values, baseline=new_baseline, states=states)


def units(*versions: Values) -> Iterator[Sequence[str]]:
    """The fields that are merged separately, or together where one has no meaning without the other.

    A time zone belongs to a cron expression, and options to a job.
    """
    together = []
    if not all(isinstance(each.timing, dict) and "cron" in each.timing for each in versions):
        together.append(("timing", "timezone"))
    if len({json.dumps(each.job) for each in versions}) > 1:
        together.append(("job", "options"))
    joined = {name for unit in together for name in unit}
    yield from together
    yield from ((name,) for name in FIELDS if name not in joined)


def unit_of(field: str, *versions: Values) -> Sequence[str]:
    """The fields that are merged together with this one."""
    return next(unit for unit in units(*versions) if field in unit)


def taken(values: Values, source: Values, names: Sequence[str]) -> Values:
    """The values with these fields from the other."""
    return replace(values, **{name: getattr(source, name) for name in names})


def changed(old: Values, new: Values) -> list[str]:
    """The fields that differ."""
    return [name for name in FIELDS if not equal(getattr(old, name), getattr(new, name))]


def equal(one: Any, other: Any) -> bool:
    """Whether both are the same JSON: True is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _of(values: Values, names: Sequence[str]) -> list[Any]:
    return [getattr(values, name) for name in names]


def _state(code: Any, stored: Any, baseline: Any) -> State:
    if equal(code, stored):
        return State.SAME
    if equal(stored, baseline):
        return State.CODE
    return State.EDITED if equal(code, baseline) else State.DRIFT
