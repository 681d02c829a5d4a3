"""The plans of one tick: schedules that say the same have the same plan, which is then made once.

Thousands of schedules that are due at the same second have a few different times between them, and as a
rule one policy.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.scheduling import planning, timing
from tasks_app.jobs.scheduling.planning import Pause, Plan, Policy


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan, and the policy by which it was made."""

    policy: Policy
    plan: Plan


class Plans:
    """What becomes of schedules' slots at one moment. The schedules are as ``timing.load`` gives them."""

    def __init__(self, now: datetime) -> None:
        """At this moment."""
        self._now = now
        self._made: dict[Hashable, Planned] = {}

    def of(self, schedule: PeriodicTask, *, handled_until: datetime, pauses: Sequence[Pause]) -> Planned:
        """One schedule's plan. Raises ValueError for what cannot be evaluated."""
        key = (_identity(schedule), schedule.timing, *_policy(schedule), handled_until, *pauses)
        if key not in self._made:
            self._made[key] = self._plan(schedule, handled_until, pauses)
        return self._made[key]

    def _plan(self, schedule: PeriodicTask, handled_until: datetime, pauses: Sequence[Pause]) -> Planned:
        policy = timing.policy_of(schedule.policy)
        plan = planning.plan(
            rule=timing.rule_of(schedule, schedule.policy),
            window=timing.window_of(schedule),
            policy=policy,
            pauses=pauses,
            identity=_identity(schedule),
            handled_until=handled_until,
            now=self._now,
        )
        return Planned(policy=policy, plan=plan)


def _identity(schedule: PeriodicTask) -> int:
    """What its jitter is made from; the same for all that have none."""
    return schedule.pk if schedule.policy.jitter else 0


def _policy(schedule: PeriodicTask) -> Sequence[Hashable]:
    policy = schedule.policy
    anchor = policy.anchor if schedule.interval_id is not None else None
    return policy.misfire, policy.catch_up_limit, policy.starting_deadline, policy.jitter, anchor
