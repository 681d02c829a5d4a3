"""Which rules apply to a job's runs.

Rules are rows of ``AlertRule``, and a job may declare one of its own (``JobCommand.alerts``). The most
specific ones apply: those for the run's schedule, or else those for its job in the admin, or else the job's
own, or else the general ones. So a rule without kinds, or without destinations, silences a job. But if a job
names destinations none of which can be used, its alerts go to those of the general rules: otherwise, a
destination that is renamed would silence it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobledger.alerts.deciding import Terms
from jobledger.jobs import registry
from jobledger.jobs.declaration import AlertKind, Alerts, Frequency
from jobledger.models import AlertDestination, AlertRule, Trigger

ATTENDED = (Trigger.CLI, Trigger.JOB)
"""Runs of these triggers have a caller, who sees their failure."""

DECLARED_KEY = "job:"
"""How the keys of rules begin that jobs declare."""

_DESTINATION_FIELDS = ("id", "name", "kind", "enabled", "url", "addresses")
_RULE_FIELDS = (
    "id",
    "name",
    "job",
    "schedule_id",
    "kinds",
    "after_failures",
    "every_failure",
    "frequency",
    "late_after",
    "success_within",
    "include_attended",
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule that applies, from whatever source."""

    key: str
    """Identifies it: the row's primary key, or the job that declares it."""
    name: str
    terms: Terms
    frequency: Frequency
    late_after: timedelta | None
    success_within: timedelta | None
    include_attended: bool
    destinations: Mapping[int, str]
    """The ids and names of those that can be used."""

    def is_about(self, kind: AlertKind | None, *, is_attended: bool = False) -> bool:
        """Whether it alerts on this kind; None, a success, may always be a recovery."""
        return (kind is None or kind in self.terms.kinds) and (self.include_attended or not is_attended)


class RuleBook:
    """All rules, read with a single query."""

    def __init__(self, rules: Iterable[tuple[Mapping[str, Any], Rule]]) -> None:
        self._rules = list(rules)

    @classmethod
    def load(cls) -> "RuleBook":
        """The enabled rules as they are now."""
        names = [*_RULE_FIELDS, *(f"destinations__{name}" for name in _DESTINATION_FIELDS)]
        rows: dict[int, tuple[Mapping[str, Any], dict[int, str]]] = {}
        for row in AlertRule.objects.filter(enabled=True).order_by("pk").values(*names):
            _, destinations = rows.setdefault(row["id"], (row, {}))
            destination = AlertDestination(
                **{name: row[f"destinations__{name}"] for name in _DESTINATION_FIELDS}
            )
            if row["destinations__id"] is not None and destination.is_usable:
                destinations[destination.pk] = destination.name
        return cls((row, _stored_rule(row, destinations)) for row, destinations in rows.values())

    @property
    def is_mute(self) -> bool:
        """Whether nothing can be told to anyone, whatever happens."""
        return not any(rule.destinations for _, rule in self._rules) and not any(
            job.declaration.alerts for job in registry.all_jobs().values()
        )

    @property
    def general(self) -> Sequence[Rule]:
        """The rules for all jobs."""
        return self._with(job="", schedule_id=None)

    @property
    def shortest_late_after(self) -> timedelta | None:
        """The shortest time that a run may be queued by any rule; None if there is none."""
        declared = (job.declaration.alerts for job in registry.all_jobs().values())
        limits = [rule.late_after for _, rule in self._rules]
        limits += [alerts.late_after for alerts in declared if alerts is not None]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def limits_silence(self) -> bool:
        """Whether a rule says how long a schedule may be without a success."""
        return any(rule.success_within is not None for _, rule in self._rules)

    def rules_of(self, job: str, schedule_id: int | None) -> Sequence[Rule]:
        """The rules that apply to this job's runs for this schedule, if any can tell something to someone."""
        return [
            rule for rule in self._most_specific(job, schedule_id) if rule.destinations and rule.terms.kinds
        ]

    def _most_specific(self, job: str, schedule_id: int | None) -> Sequence[Rule]:
        if schedule_id is not None and (found := self._with(schedule_id=schedule_id)):
            return found
        if found := self._with(job=job, schedule_id=None):
            return found
        if (declared := registry.declaration_of(job).alerts) is not None:
            return [self._declared_rule(job, declared)]
        return self.general

    def _with(self, **values: Any) -> list[Rule]:
        return [
            rule for row, rule in self._rules if all(row[name] == value for name, value in values.items())
        ]

    def _declared_rule(self, job: str, declared: Alerts) -> Rule:
        return Rule(
            key=f"{DECLARED_KEY}{job}",
            name=f"of job {job}"[:100],
            terms=Terms(
                kinds=frozenset(declared.kinds),
                after_failures=declared.after_failures,
                every_failure=declared.every_failure,
            ),
            frequency=declared.frequency,
            late_after=declared.late_after,
            success_within=None,
            include_attended=False,
            destinations=self._destinations_of(declared),
        )

    def _destinations_of(self, declared: Alerts) -> Mapping[int, str]:
        if declared.destinations:
            found = AlertDestination.objects.filter(name__in=list(declared.destinations))
            if usable := {each.pk: each.name for each in found if each.is_usable}:
                return usable
        return {pk: name for rule in self.general for pk, name in rule.destinations.items()}


def unusable_destinations(jobs: Iterable[registry.Job]) -> dict[str, list[str]]:
    """By job, the destinations that it names although they do not exist or cannot be used."""
    named = {job.name: job.declaration.alerts.destinations for job in jobs if job.declaration.alerts}
    if not any(named.values()):
        return {}
    usable = {each.name for each in AlertDestination.objects.all() if each.is_usable}
    found = {job: sorted(set(names) - usable) for job, names in sorted(named.items())}
    return {job: names for job, names in found.items() if names}


def known_kinds(values: Any) -> Collection[AlertKind]:
    """The kinds among stored values; those of other versions are ignored."""
    return frozenset(kind for kind in AlertKind if kind in (values or ()))


def _stored_rule(row: Mapping[str, Any], destinations: Mapping[int, str]) -> Rule:
    return Rule(
        key=str(row["id"]),
        name=row["name"],
        terms=Terms(
            kinds=known_kinds(row["kinds"]),
            after_failures=row["after_failures"],
            every_failure=row["every_failure"],
        ),
        frequency=Frequency(row["frequency"]),
        late_after=row["late_after"],
        success_within=row["success_within"],
        include_attended=row["include_attended"],
        destinations=destinations,
    )
