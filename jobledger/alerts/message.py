"""What an alert says, as text: one in detail, or a summary of several that are sent together.

Values of secret options are masked wherever an error or the output quotes them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
MAX_LINE_LENGTH = 500
MAX_CHUNKS = 50
MAX_SUBJECT_LENGTH = 150


@dataclass(frozen=True, kw_only=True)
class Message:
    subject: str
    """A single line."""
    body: str
    is_good_news: bool = False


def compose(alerts: Sequence[Alert]) -> Message:
    """The message for alerts that are sent together, oldest first."""
    return _single(alerts[0]) if len(alerts) == 1 else _summary(alerts)


def headline(alert: Alert) -> str:
    """What happened, in a few words: ``nightly failed 3 times in a row``."""
    return f"{escaped(alert.schedule_name or alert.job)} {_predicate(alert)}"


def test_message(destination_name: str) -> Message:
    """Proves that a destination can be reached."""
    body = f"This is a test of the alert destination “{escaped(destination_name)}”. Alerts will arrive here."
    return Message(
        subject="Test of alerts", body=_text([body, "", *_link("", "admin:index")]), is_good_news=True
    )


def _predicate(alert: Alert) -> str:
    facts = _Facts(alert)
    return _PREDICATES.get(AlertKind(alert.kind), _ended)(facts)


def _ended(facts: "_Facts") -> str:
    verb = _VERBS[facts.kind]
    return f"{verb} {facts.failures:,} times in a row" if facts.failures > 1 else verb


def _paused(facts: "_Facts") -> str:
    until = facts.time("until")
    return f"is paused after {_in_a_row(facts.failures)}" + (f", until {until}" if until else "")


def _flapping(facts: "_Facts") -> str:
    failed, of = facts.number("failed"), facts.number("of")
    return f"fails again and again: {failed} of its last {of} runs failed"


class _Facts:
    """The details of an alert; unknown ones read as nothing."""

    def __init__(self, alert: Alert) -> None:
        self._details: dict[str, Any] = alert.details
        self._time = alert.time
        self.kind = AlertKind(alert.kind)
        self.count = self.number("count") or 1
        self.failures = self.number("failures")

    def number(self, name: str) -> int:
        return int(self._details.get(name) or 0)

    def length(self, name: str) -> str:
        return duration(timedelta(seconds=float(self._details.get(name) or 0)))

    def time(self, name: str) -> str:
        value = self._details.get(name)
        return exact(datetime.fromisoformat(value)) if value else ""

    @property
    def down(self) -> str:
        """How long it was down, and how many runs failed."""
        since, text = self._details.get("since"), ""
        if since:
            text = f" after {duration(max(self._time - datetime.fromisoformat(since), timedelta(0)))}"
        return text + (f" and {self.failures:,} failed {_runs(self.failures)}" if self.failures else "")


_VERBS = {
    AlertKind.FAILED: "failed",
    AlertKind.TIMED_OUT: "timed out",
    AlertKind.LOST: "was lost",
    AlertKind.CANCELLED: "was cancelled",
}
_PREDICATES: Mapping[AlertKind, Callable[[_Facts], str]] = {
    AlertKind.MISSED: lambda facts: "did not run" if facts.count == 1 else f"missed {facts.count:,} runs",
    AlertKind.SKIPPED: lambda facts: "was skipped" if facts.count == 1 else f"skipped {facts.count:,} runs",
    AlertKind.LATE: lambda facts: f"has been queued for {facts.length('waited')}",
    AlertKind.SLOW: lambda facts: f"is slow: it takes more than {facts.length('limit')}",
    AlertKind.SILENT: lambda facts: f"has not succeeded for {facts.length('limit')}",
    AlertKind.PAUSED: _paused,
    AlertKind.RECOVERED: lambda facts: f"works again{facts.down}",
    AlertKind.FLAPPING: _flapping,
}


def _single(alert: Alert) -> Message:
    run = alert.run
    lines = [
        f"{headline(alert)}.",
        "",
        f"Job:       {escaped(alert.job)}",
        *([f"Schedule:  {escaped(alert.schedule_name)}"] if alert.schedule_name else []),
        f"Time:      {exact(alert.time)}",
        *([f"Why:       {sentence(run)}"] if run and alert.kind != AlertKind.RECOVERED else []),
        *(_link("Run:       ", "admin:jobledger_run_change", str(run.pk)) if run else []),
        *_schedule_link(alert),
        *(_last_lines(run) if run and alert.kind != AlertKind.RECOVERED else []),
        "",
        f"Alert rule: {escaped(alert.rule_name)}",
    ]
    is_failure = alert.kind in _VERBS and run is not None
    reason = f": {_first_line(run)}" if is_failure and run and _first_line(run) else ""
    return Message(
        subject=_subject(headline(alert) + reason),
        body=_text(lines),
        is_good_news=alert.kind == AlertKind.RECOVERED,
    )


def _summary(alerts: Sequence[Alert]) -> Message:
    counts = Counter(alert.get_kind_display() for alert in alerts).most_common()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts)
    lines = [f"{len(alerts):,} alerts: {kinds}.", ""]
    for alert in alerts[:MAX_LISTED]:
        lines.append(f"- {exact(alert.time)}: {headline(alert)}")
        lines += [f"  {link}" for link in _link("", "admin:jobledger_run_change", str(alert.run_id or ""))]
    if len(alerts) > MAX_LISTED:
        lines.append(f"- and {len(alerts) - MAX_LISTED:,} more")
    lines += ["", *_link("All alerts: ", "admin:jobledger_alert_changelist")]
    return Message(
        subject=_subject(f"{len(alerts):,} alerts: {_whose(alerts)}{kinds}"),
        body=_text(lines),
        is_good_news=all(alert.kind == AlertKind.RECOVERED for alert in alerts),
    )


def _whose(alerts: Sequence[Alert]) -> str:
    """The job or schedule that all of the alerts are about."""
    names = {escaped(alert.schedule_name or alert.job) for alert in alerts}
    return f"{names.pop()}: " if len(names) == 1 else ""


def sentence(run: Run) -> str:
    """What happened to the run and why, in one line and without secrets."""
    return escaped(str(reasons.sentence(run, clock.now())))


def _first_line(run: Run) -> str:
    return escaped(reasons.without_secrets(run, run.error).strip().partition("\n")[0])


def _last_lines(run: Run) -> Iterator[str]:
    """The end of the output of the last attempt, without colours and progress bars."""
    newest = RunOutput.objects.filter(run=run, attempt=run.attempt).order_by("-number")
    chunks = list(newest.values_list("text", flat=True)[:MAX_CHUNKS])
    text = reasons.without_secrets(run, without_escape_sequences("".join(reversed(chunks)))).rstrip()
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")] if text else []
    if not lines:
        return
    yield ""
    yield "The end of its output:" if len(lines) > MAX_LINES else "Its output:"
    yield from (f"    {escaped_lines(line)[:MAX_LINE_LENGTH]}" for line in lines[-MAX_LINES:])


def _schedule_link(alert: Alert) -> Sequence[str]:
    if alert.run_id or not alert.schedule_id:
        return []
    return _link("Schedule:  ", "admin:django_celery_beat_periodictask_change", str(alert.schedule_id))


def _link(label: str, name: str, *args: str) -> Sequence[str]:
    """A line with the address of an admin page; none without BASE_URL, or if the project has no such page."""
    if not settings.BASE_URL or "" in args:
        return []
    try:
        return [label + urljoin(settings.BASE_URL, reverse(name, args=args))]
    except NoReverseMatch:
        return []


def _subject(text: str) -> str:
    return text if len(text) <= MAX_SUBJECT_LENGTH else f"{text[: MAX_SUBJECT_LENGTH - 1]}…"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _in_a_row(count: int) -> str:
    return f"{count:,} failed runs in a row" if count > 1 else "a failed run"


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
