"""Reads stored policies, whose values may have been written with SQL or by another version."""

from enum import StrEnum
from typing import TypeVar

from jobledger.jobs.declaration import Concurrency, LeftOutSlots, Misfire
from jobledger.models import SchedulePolicy
from jobledger.schedules.planning.policy import Policy
from jobledger.schedules.rules.slots import RuleError

Choice = TypeVar("Choice", bound=StrEnum)


def policy_from(policy: SchedulePolicy) -> Policy:
    """The stored policy as planning needs it. Raises ValueError for invalid values."""
    if policy.concurrency:
        member_of(Concurrency, policy, "concurrency")
    member_of(LeftOutSlots, policy, "left_out")
    return Policy(
        misfire=member_of(Misfire, policy, "misfire"),
        catch_up_limit=policy.catch_up_limit,
        starting_deadline=policy.starting_deadline,
        jitter=policy.jitter,
    )


def member_of(choices: type[Choice], policy: SchedulePolicy, name: str) -> Choice:
    """The member that is stored in this column. Raises ValueError, which says what may be."""
    value = getattr(policy, name)
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(str(each) for each in choices)
        raise RuleError(f"{name}: {value!r} is none of {known}", field=name) from None
