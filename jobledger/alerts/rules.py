"""Which rules apply to a job's runs.

Rules are rows of ``AlertRule``, and a job may declare one of its own (``JobCommand.alerts``). The most
specific ones apply: those for the run's schedule, or else those for its job in the admin, or else the job's
own, or else the general ones. So a rule without kinds, or without destinations, silences a job. But if a job
names destinations none of which can be used, its alerts go to those of the general rules: otherwise, a
destination that is renamed would silence it.

What users subscribe to is told besides, whatever the rules say: each subscriber has a rule of their own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db.models import Exists, QuerySet

from jobledger.alerts.deciding import FAILURE_KINDS, Terms
from jobledger.formats import MAX_DURATION
from jobledger.jobs import registry
from jobledger.jobs.declaration import AlertKind, Alerts, Frequency
from jobledger.models import AlertDestination, AlertRule, DestinationKind, Subscription, Trigger

ATTENDED = (Trigger.CLI, Trigger.JOB)
"""Runs of these triggers have a caller, who sees their failure."""

DECLARED_KEY = "job:"
"""How the keys of rules begin that jobs declare."""

SUBSCRIBER_KEY = "subscriber:"
"""The same for the rules of subscribers; the destination's id follows."""

SUBSCRIBED = frozenset({*FAILURE_KINDS, AlertKind.PAUSED, AlertKind.RECOVERED})
"""What subscribers are told: failures, and what comes of them."""

Topic = tuple[str, int | None]
"""What a subscription is to: a job, or a schedule, whichever job it starts."""

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
    """Identifies it: the row's primary key, the job that declares it, or the subscriber."""
    name: str
    terms: Terms
    frequency: Frequency
    late_after: timedelta | None
    success_within: timedelta | None
    include_attended: bool
    destinations: Mapping[int, str]
    """The ids and names of those that can be used."""
    addresses: Collection[str] = frozenset()
    """Whom it mails, as ``comparable``."""

    @property
    def is_subscription(self) -> bool:
        return self.key.startswith(SUBSCRIBER_KEY)

    def is_about(self, kind: AlertKind | None, *, is_attended: bool = False) -> bool:
        """Whether it alerts on this kind; None, a success, may always be a recovery."""
        return (kind is None or kind in self.terms.kinds) and (self.include_attended or not is_attended)


class RuleBook:
    """All rules, read with a single query, and another one for the subscriptions, if there are any."""

    def __init__(
        self,
        rules: Iterable[tuple[Mapping[str, Any], Rule]],
        addresses: Mapping[int, Collection[str]],
        *,
        has_subscriptions: bool,
    ) -> None:
        """``addresses`` are those that destinations mail."""
        self._rules, self._addresses = list(rules), dict(addresses)
        self._has_subscriptions = has_subscriptions
        self._declared: dict[str, Rule] = {}
        """Those that were asked for, by job: their destinations are read, and there may be many runs."""

    @classmethod
    def load(cls) -> "RuleBook":
        """The enabled rules as they are now."""
        names = [*_RULE_FIELDS, *(f"destinations__{name}" for name in _DESTINATION_FIELDS)]
        rows: dict[int, tuple[Mapping[str, Any], dict[int, str]]] = {}
        addresses: dict[int, Collection[str]] = {}
        has_subscriptions = True
        enabled = AlertRule.objects.filter(enabled=True).order_by("pk")
        for row in enabled.values(*names, has_subscriptions=Exists(Subscription.objects.all())):
            has_subscriptions = row["has_subscriptions"]
            _, destinations = rows.setdefault(row["id"], (row, {}))
            destination = AlertDestination(
                **{name: row[f"destinations__{name}"] for name in _DESTINATION_FIELDS}
            )
            if row["destinations__id"] is not None and destination.is_usable:
                destinations[destination.pk] = destination.name
                addresses[destination.pk] = _addresses(destination)
        rules = [
            (row, _stored_rule(row, destinations, _all_of(destinations, addresses)))
            for row, destinations in rows.values()
        ]
        return cls(rules, addresses, has_subscriptions=has_subscriptions)

    @property
    def is_mute(self) -> bool:
        """Whether nothing can be told to anyone, whatever happens."""
        return (
            not any(rule.destinations for _, rule in self._rules)
            and not any(job.declaration.alerts for job in registry.all_jobs().values())
            and not self._subscriptions
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
        found = [
            rule for rule in self._most_specific(job, schedule_id) if rule.destinations and rule.terms.kinds
        ]
        return [*found, *self._rules_of_subscribers(job, schedule_id)]

    @cached_property
    def _subscriptions(self) -> Mapping[Topic, Mapping[int, str]]:
        """The subscribers' destinations, with their names, by what they have subscribed to."""
        found: dict[Topic, dict[int, str]] = {}
        if self._has_subscriptions:
            enabled = Subscription.objects.filter(destination__enabled=True)
            fields = ("job", "schedule", "destination", "destination__name")
            for job, schedule, pk, name in enabled.values_list(*fields):
                found.setdefault((job, schedule), {})[pk] = name
        return found

    def _rules_of_subscribers(self, job: str, schedule_id: int | None) -> Sequence[Rule]:
        """One for each, also if they subscribe to both the job and the schedule."""
        named = {
            pk: name
            for topic in topics_of(job, schedule_id)
            for pk, name in self._subscriptions.get(topic, {}).items()
        }
        return [_subscribers_rule(pk, name) for pk, name in sorted(named.items())]

    def _most_specific(self, job: str, schedule_id: int | None) -> Sequence[Rule]:
        if schedule_id is not None and (found := self._with(schedule_id=schedule_id)):
            return found
        if found := self._with(job=job, schedule_id=None):
            return found
        if (declared := registry.declaration_of(job).alerts) is not None:
            if job not in self._declared:
                self._declared[job] = self._declared_rule(job, declared)
            return [self._declared[job]]
        return self.general

    def _with(self, **values: Any) -> list[Rule]:
        return [
            rule for row, rule in self._rules if all(row[name] == value for name, value in values.items())
        ]

    def _declared_rule(self, job: str, declared: Alerts) -> Rule:
        destinations = self._destinations_of(declared)
        return Rule(
            key=f"{DECLARED_KEY}{job}",
            name=f"of job {job}"[:100],
            terms=Terms(
                kinds=frozenset(declared.kinds),
                after_failures=declared.after_failures,
                every_failure=declared.every_failure,
            ),
            # It may be declared as a text, such as "daily".
            frequency=Frequency(declared.frequency),
            late_after=declared.late_after,
            success_within=None,
            include_attended=False,
            destinations=destinations,
            addresses=_all_of(destinations, self._addresses),
        )

    def _destinations_of(self, declared: Alerts) -> Mapping[int, str]:
        if declared.destinations:
            found = nameable().filter(name__in=list(declared.destinations))
            if usable := {each.pk: each for each in found if each.is_usable}:
                self._addresses |= {pk: _addresses(each) for pk, each in usable.items()}
                return {pk: each.name for pk, each in usable.items()}
        return {pk: name for rule in self.general for pk, name in rule.destinations.items()}


def topics_of(job: str, schedule_id: int | None) -> Sequence[Topic]:
    """What a run of the job for this schedule is about."""
    return [(job, None), ("", schedule_id)]


def nameable() -> QuerySet[AlertDestination]:
    """The destinations that rules may name: not those of subscribers."""
    return AlertDestination.objects.exclude(kind=DestinationKind.USER)


def comparable(address: str) -> str:
    """Of two addresses that differ in case only, hardly any server makes two mailboxes."""
    return address.casefold()


def unusable_destinations(jobs: Iterable[registry.Job]) -> dict[str, list[str]]:
    """By job, the destinations that it names although they do not exist or cannot be used."""
    named = {job.name: job.declaration.alerts.destinations for job in jobs if job.declaration.alerts}
    if not any(named.values()):
        return {}
    usable = {each.name for each in nameable() if each.is_usable}
    found = {job: sorted(set(names) - usable) for job, names in sorted(named.items())}
    return {job: names for job, names in found.items() if names}


def known_kinds(values: Any) -> Collection[AlertKind]:
    """The kinds among stored values; those of other versions are ignored."""
    return frozenset(kind for kind in AlertKind if kind in (values or ()))


def known_frequency(value: str) -> Frequency:
    """The stored frequency; an alert that nobody knows when to send is sent at once."""
    try:
        return Frequency(value)
    except ValueError:
        return Frequency.IMMEDIATELY


def _length(stored: timedelta | None) -> timedelta | None:
    """It is subtracted from a time."""
    return None if stored is None else min(max(stored, timedelta(0)), MAX_DURATION)


def _addresses(destination: AlertDestination) -> Collection[str]:
    return frozenset(map(comparable, destination.mail_addresses))


def _all_of(destinations: Iterable[int], addresses: Mapping[int, Collection[str]]) -> Collection[str]:
    return frozenset(address for pk in destinations for address in addresses.get(pk, ()))


def _subscribers_rule(destination_id: int, name: str) -> Rule:
    return Rule(
        key=f"{SUBSCRIBER_KEY}{destination_id}",
        name=f"subscription of {name}"[:100],
        terms=Terms(kinds=SUBSCRIBED),
        frequency=Frequency.IMMEDIATELY,
        late_after=None,
        success_within=None,
        include_attended=False,
        destinations={destination_id: name},
    )


def _stored_rule(row: Mapping[str, Any], destinations: Mapping[int, str], addresses: Collection[str]) -> Rule:
    return Rule(
        key=str(row["id"]),
        name=row["name"],
        terms=Terms(
            kinds=known_kinds(row["kinds"]),
            after_failures=row["after_failures"],
            every_failure=row["every_failure"],
        ),
        frequency=known_frequency(row["frequency"]),
        late_after=_length(row["late_after"]),
        success_within=_length(row["success_within"]),
        include_attended=row["include_attended"],
        destinations=destinations,
        addresses=addresses,
    )
