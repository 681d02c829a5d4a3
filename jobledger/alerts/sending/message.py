"""What an alert says, as text: one in detail, or a summary of several that are sent together.

Values of secret options are masked wherever an error or the output quotes them.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urljoin

from django.urls import NoReverseMatch, reverse

from jobledger import clock
from jobledger.conf import settings
from jobledger.escapes import escaped, escaped_lines, without_escape_sequences
from jobledger.formats import duration, exact
from jobledger.jobs.declaration import AlertKind
from jobledger.models import Alert, Run, RunOutput
from jobledger.runs import reasons

MAX_LISTED = 20
MAX_LINES = 20
MAX_LINES_LISTED = 5
"""Of the output of each run in a summary."""
MAX_LINE_LENGTH = 500
MAX_CHUNKS = 50
MAX_SUBJECT_LENGTH = 150
MAX_OUTPUT_LENGTH = 20_000
MAX_WHY_LENGTH = 2000


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """How much of everything a body has."""

    listed: int = MAX_LISTED
    lines: int = MAX_LINES
    lines_listed: int = MAX_LINES_LISTED
    output: int = MAX_OUTPUT_LENGTH
    """Characters, of all runs together."""
    why: int = MAX_WHY_LENGTH
    """Characters of the reason."""


_Output = Callable[[Run], Sequence[str]]
"""The last lines of a run's output."""

FULL = _Limits()
SHORT = _Limits(listed=4, lines=10, lines_listed=2, output=500, why=120)
"""For a service whose messages have at most 2,000 characters."""


@dataclass(frozen=True, kw_only=True)
class Message:
    subject: str
    """A single line."""
    body: str
    short_body: str = ""
    """For services that do not accept long messages; empty if the body is short anyway."""
    is_good_news: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of a mail, besides the usual ones."""


def compose(alerts: Sequence[Alert]) -> Message:
    """The message for alerts that are sent together, oldest first."""
    write, headline_of = (_single, _subject_of_one) if len(alerts) == 1 else (_summary, _subject_of_several)
    # Both bodies quote the same runs, and there may be much output.
    output_of = cache(_last_lines)
    return Message(
        subject=_subject(headline_of(alerts)),
        body=_text(write(alerts, FULL, output_of)),
        short_body=_text(write(alerts, SHORT, output_of)),
        is_good_news=all(alert.kind == AlertKind.RECOVERED for alert in alerts),
    )


def headline(alert: Alert) -> str:
    """What happened, in a few words: ``nightly failed 3 times in a row``."""
    return f"{escaped(alert.schedule_name or alert.job)} {_predicate(alert)}"


def test_message(destination_name: str) -> Message:
    """Proves that a destination can be reached."""
    body = f"This is a test of the alert destination “{escaped(destination_name)}”. Alerts will arrive here."
    return Message(subject="Test of alerts", body=_text([body, "", *_link("", "index")]), is_good_news=True)


def _predicate(alert: Alert) -> str:
    facts = _Facts(alert)
    return _PREDICATES.get(facts.kind, _ended)(facts)


def _ended(facts: "_Facts") -> str:
    if facts.number("backfill"):
        failed, of = facts.number("failed"), facts.number("of")
        number = facts.number("backfill")
        return f"did not succeed in {failed:,} of {of:,} {_runs(of)} of backfill {number}"
    # Another version may know further kinds.
    verb = _VERBS.get(facts.kind, facts.kind.replace("_", " "))
    if facts.is_mixed and facts.failures > 1:
        return f"{verb}, {facts.failures:,} runs in a row without success"
    return f"{verb} {facts.failures:,} times in a row" if facts.failures > 1 else verb


def _paused(facts: "_Facts") -> str:
    until = facts.time("until")
    return f"is paused after {_in_a_row(facts.failures)}" + (f", until {until}" if until else "")


def _flapping(facts: "_Facts") -> str:
    failed, of = facts.number("failed"), facts.number("of")
    return f"fails again and again: {failed} of its last {of} runs failed"


_UNREADABLE = (TypeError, ValueError, OverflowError)


class _Facts:
    """The details of an alert; unknown and invalid ones read as nothing."""

    def __init__(self, alert: Alert) -> None:
        self._details: Mapping[str, Any] = alert.details
        self._time = alert.time
        self.kind = alert.kind
        self.count = self.number("count") or 1
        self.failures = self.number("failures")
        self.is_mixed = bool(alert.details.get("is_mixed"))

    def number(self, name: str) -> int:
        with suppress(*_UNREADABLE):
            return int(self._details.get(name) or 0)
        return 0

    def length(self, name: str) -> str:
        with suppress(*_UNREADABLE):
            return duration(timedelta(seconds=float(self._details.get(name) or 0)))
        return duration(timedelta(0))

    def time(self, name: str) -> str:
        at = self._time_of(name)
        return exact(at) if at else ""

    def _time_of(self, name: str) -> datetime | None:
        with suppress(*_UNREADABLE):
            found = datetime.fromisoformat(self._details.get(name) or "")
            return found if found.tzinfo else None
        return None

    @property
    def down(self) -> str:
        """How long it was down, and how many runs failed."""
        since, text = self._time_of("since"), ""
        if since:
            text = f" after {duration(max(self._time - since, timedelta(0)))}"
        return text + (f" and {self.failures:,} failed {_runs(self.failures)}" if self.failures else "")


_VERBS: Mapping[str, str] = {
    AlertKind.FAILED: "failed",
    AlertKind.TIMED_OUT: "timed out",
    AlertKind.LOST: "was lost",
    AlertKind.CANCELLED: "was cancelled",
}
_PREDICATES: Mapping[str, Callable[[_Facts], str]] = {
    AlertKind.MISSED: lambda facts: "did not run" if facts.count == 1 else f"missed {facts.count:,} runs",
    AlertKind.SKIPPED: lambda facts: "was skipped" if facts.count == 1 else f"skipped {facts.count:,} runs",
    AlertKind.LATE: lambda facts: f"has been queued for {facts.length('waited')}",
    AlertKind.SLOW: lambda facts: f"is slow: it takes more than {facts.length('limit')}",
    AlertKind.SILENT: lambda facts: f"has not succeeded for {facts.length('limit')}",
    AlertKind.PAUSED: _paused,
    AlertKind.RECOVERED: lambda facts: f"works again{facts.down}",
    AlertKind.FLAPPING: _flapping,
}


def _single(alerts: Sequence[Alert], limits: _Limits, output_of: _Output) -> Sequence[str]:
    alert = alerts[0]
    run = alert.run
    is_explained = run is not None and alert.kind != AlertKind.RECOVERED
    lines = [
        f"{headline(alert)}.",
        "",
        f"Job:       {escaped(alert.job)}",
        *([f"Schedule:  {escaped(alert.schedule_name)}"] if alert.schedule_name else []),
        f"Time:      {exact(alert.time)}",
        *([f"Why:       {_cut(sentence(run), limits.why)}"] if run and is_explained else []),
        *(_link("Run:       ", "jobledger_run_change", str(run.pk)) if run else []),
        *_schedule_link(alert),
        "",
        f"Alert rule: {escaped(alert.rule_name)}",
    ]
    if run and is_explained and (output := _fitting(output_of(run), limits.lines, limits.output)):
        lines[-2:-2] = ["", "Its last output:", *_indented(output)]
    return lines


def _summary(alerts: Sequence[Alert], limits: _Limits, output_of: _Output) -> Sequence[str]:
    """The newest first, since they tell how things are now, and a service may cut the end."""
    lines = [f"{len(alerts):,} alerts: {_kinds(alerts)}.", ""]
    budget = limits.output
    for alert in alerts[: -limits.listed - 1 : -1]:
        described, used = _described(alert, limits, budget, output_of)
        lines += described
        budget -= used
    if len(alerts) > limits.listed:
        lines.append(f"- and {len(alerts) - limits.listed:,} more before these")
    return [*lines, "", *_link("All alerts: ", "jobledger_alert_changelist")]


def _described(alert: Alert, limits: _Limits, budget: int, output_of: _Output) -> tuple[Sequence[str], int]:
    """An alert in a summary, and how many characters of the budget for output it has used."""
    lines = [f"- {exact(alert.time)}: {headline(alert)}"]
    lines += [f"  {link}" for link in _link("", "jobledger_run_change", str(alert.run_id or ""))]
    if alert.run is None or alert.kind == AlertKind.RECOVERED:
        return lines, 0
    lines.append(f"  {_cut(sentence(alert.run), limits.why)}")
    output = _fitting(output_of(alert.run), limits.lines_listed, budget) if budget > 0 else []
    return [*lines, *_indented(output)], sum(map(len, output))


def _subject_of_one(alerts: Sequence[Alert]) -> str:
    run = alerts[0].run
    is_failure = alerts[0].kind in _VERBS and run is not None
    reason = f": {_first_line(run)}" if is_failure and run and _first_line(run) else ""
    return headline(alerts[0]) + reason


def _subject_of_several(alerts: Sequence[Alert]) -> str:
    return f"{len(alerts):,} alerts: {_whose(alerts)}{_kinds(alerts)}"


def _kinds(alerts: Sequence[Alert]) -> str:
    counts = Counter(alert.get_kind_display() for alert in alerts).most_common()
    return ", ".join(f"{count:,} {kind}" for kind, count in counts)


def _whose(alerts: Sequence[Alert]) -> str:
    """The job or schedule that all of the alerts are about."""
    names = {escaped(alert.schedule_name or alert.job) for alert in alerts}
    return f"{names.pop()}: " if len(names) == 1 else ""


def sentence(run: Run) -> str:
    """What happened to the run and why, in one line and without secrets."""
    return escaped(str(reasons.sentence(run, clock.now())))


def _first_line(run: Run) -> str:
    return escaped(reasons.without_secrets(run, run.error).strip().partition("\n")[0])


def _last_lines(run: Run) -> Sequence[str]:
    """The end of the output of the last attempt, without colours and progress bars."""
    newest = RunOutput.objects.filter(run=run, attempt=run.attempt).order_by("-number")
    chunks = list(newest.values_list("text", flat=True)[:MAX_CHUNKS])
    text = reasons.without_secrets(run, without_escape_sequences("".join(reversed(chunks)))).rstrip()
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")] if text else []
    return [escaped_lines(line)[:MAX_LINE_LENGTH] for line in lines[-MAX_LINES:]]


def _fitting(lines: Sequence[str], count: int, length: int) -> Sequence[str]:
    """The last of the lines, no more and no longer than this."""
    kept = list[str]()
    for line in reversed(lines[-count:]):
        shown = line[:length]
        length -= len(shown) + 1
        if length < 0 and kept:
            break
        kept.append(shown)
    return kept[::-1]


def _indented(lines: Sequence[str]) -> Sequence[str]:
    return [f"    {line}" for line in lines]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _schedule_link(alert: Alert) -> Sequence[str]:
    if alert.run_id or not alert.schedule_id:
        return []
    return _link("Schedule:  ", "django_celery_beat_periodictask_change", str(alert.schedule_id))


def link_to(name: str, *args: str) -> str:
    """The URL of an admin page on the site ``ADMIN_SITE``; empty without BASE_URL, or if there is no page."""
    if not settings.BASE_URL:
        return ""
    try:
        path = reverse(f"admin:{name}", args=args, current_app=settings.ADMIN_SITE)
    except NoReverseMatch:
        return ""
    return urljoin(settings.BASE_URL, path)


def _link(label: str, name: str, *args: str) -> Sequence[str]:
    """A line with the address, if there is one."""
    address = "" if "" in args else link_to(name, *args)
    return [label + address] if address else []


def _subject(text: str) -> str:
    return _cut(text, MAX_SUBJECT_LENGTH)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _in_a_row(count: int) -> str:
    return f"{count:,} failed runs in a row" if count > 1 else "a failed run"


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
