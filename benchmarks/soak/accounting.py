"""What came of a soak, from what its parts say independently of each other. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from tests.integration.ledger import Audit

MAX_GROWTH = 1.25
"""Memory is flat if the median of the last third is at most so many times that of the first."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The slots that there should be according to the clock, compared with the ledger's."""

    expected: int
    recorded: int
    missing: Sequence[tuple[int, datetime]]
    """Those without a run, with the ids of their schedules."""
    twice: int
    """How many have more than one run."""


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """What the receiver of alerts has received, compared with the ledger."""

    alerts: int
    messages: int
    requests: int
    twice: int
    """How many requests repeat a message."""
    undelivered: int
    uncertain: int
    """Beat was killed while it was sending them."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the processes of one kind needed, in MiB."""

    first: float
    last: float
    """The medians of the first and of the last third of the time."""
    most: float

    @property
    def is_flat(self) -> bool:
        return self.last <= self.first * MAX_GROWTH


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a soak has shown."""

    seconds: float
    machine: str
    faults: Mapping[str, int]
    slots: Slots
    audit: Audit
    reasons: Mapping[str, int]
    """How many runs ended in which state, and why."""
    unexplained: int
    alerts: Alerts
    memory: Mapping[str, Memory]
    bytes_per_run: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, done twice, told twice or left without a reason."""
        wrong = (len(self.slots.missing), self.slots.twice, self.unexplained, self.alerts.twice)
        return self.audit.is_clean and not any(wrong)


def slots_of(expected: Collection[tuple[int, datetime]], found: Sequence[tuple[int, datetime]]) -> Slots:
    """Compare pairs of schedules and slots. Slots that nobody expects yet are left out."""
    wanted = set(expected)
    counts = Counter(each for each in found if each in wanted)
    return Slots(
        expected=len(wanted),
        recorded=len(counts),
        missing=sorted(wanted - set(counts)),
        twice=sum(count > 1 for count in counts.values()),
    )


def alerts_of(
    bodies: Sequence[str], *, alerts: int, messages: int, undelivered: int, uncertain: int
) -> Alerts:
    """A message that was sent again has the same body, or there are more requests than messages."""
    repeated = sum(count - 1 for count in Counter(bodies).values())
    return Alerts(
        alerts=alerts,
        messages=messages,
        requests=len(bodies),
        twice=max(repeated, len(bodies) - messages, 0),
        undelivered=undelivered,
        uncertain=uncertain,
    )


def memory_of(samples: Sequence[float]) -> Memory:
    """From samples in MiB, in order."""
    third = max(len(samples) // 3, 1)
    return Memory(first=median(samples[:third]), last=median(samples[-third:]), most=max(samples))


def unexplained_of(runs: Sequence[tuple[str, str]]) -> int:
    """How many of the runs, as pairs of status and reason, did not succeed and do not say why."""
    return sum(status != "succeeded" and not reason for status, reason in runs)


def markdown(report: Report) -> str:
    """The report as a page."""
    audit, alerts = report.audit, report.alerts
    rows = [
        ("slots", report.slots.expected),
        ("missing (slots without a run)", len(report.slots.missing)),
        ("slots with several runs", report.slots.twice),
        ("runs", audit.runs),
        ("executed attempts", audit.executions),
        ("runs executed again, as their job allows", audit.again),
        ("double (executed more often than allowed)", audit.twice),
        ("attempts without a trace, and traces without an attempt", audit.missing + audit.unknown),
        ("unfinished", audit.unfinished),
        ("unexplained (not succeeded, without a reason)", report.unexplained),
        ("alerts", alerts.alerts),
        ("messages with alerts", alerts.messages),
        ("alerts sent twice", alerts.twice),
        ("deliveries that may not have arrived, since beat was killed meanwhile", alerts.uncertain),
        ("deliveries given up or still waiting", alerts.undelivered),
        ("growth of the database per run, bytes", round(report.bytes_per_run)),
    ]
    lines = [
        "# The last soak",
        "",
        f"{report.seconds / 60:.0f} minutes on the Compose stack. {report.machine}.",
        "",
        f"**{'Clean' if report.is_clean else 'NOT clean'}.** Faults: "
        + ", ".join(f"{name}: {count}" for name, count in sorted(report.faults.items()))
        + ".",
        "",
        *_table(["", ""], [[name, f"{value:,}"] for name, value in rows]),
        "",
        *(f"Missing: schedule {pk}, {slot.isoformat()}\n" for pk, slot in report.slots.missing),
        *_table(["state: reason", "runs"], [[name, f"{n:,}"] for name, n in report.reasons.items()]),
        "",
        *_table(
            ["memory, MiB", "first third", "last third", "most", "flat"],
            [
                [name, f"{m.first:.0f}", f"{m.last:.0f}", f"{m.most:.0f}", "yes" if m.is_flat else "NO"]
                for name, m in report.memory.items()
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    align = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(each)} |" for each in (head, align, *rows)]
