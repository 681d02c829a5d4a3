"""What a message says: what happened, when, why, the end of the output, and where to look."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from jobledger.alerts.sending import message
from jobledger.jobs.declaration import AlertKind
from jobledger.models import Alert, Run, RunOutput, Stream
from jobledger.runs.outcome import outcome_of
from tests.unit.builders import NOON, override
from tests.unit.jobledger.alerts.builders import CRASH, LOST, end, fail
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db


def alert(kind: AlertKind = AlertKind.FAILED, run: Run | None = None, **details: Any) -> Alert:
    job = run.job if run else "probe"
    return Alert.objects.create(kind=kind, time=NOON, job=job, run=run, rule_name="all", details=details)


def wrote(run: Run, *chunks: str) -> Run:
    for number, text in enumerate(chunks):
        RunOutput.objects.create(run=run, number=number, stream=Stream.STDOUT, text=text)
    return run


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("failed", {}, "probe failed"),
        ("failed", {"failures": 1}, "probe failed"),
        ("failed", {"failures": 3}, "probe failed 3 times in a row"),
        ("timed_out", {}, "probe timed out"),
        (
            "timed_out",
            {"failures": 3, "is_mixed": True},
            "probe timed out, 3 runs in a row without success",
        ),
        ("lost", {}, "probe was lost"),
        ("cancelled", {}, "probe was cancelled"),
        ("skipped", {"count": 2}, "probe skipped 2 runs"),
        ("missed", {"count": 1, "failures": 1}, "probe did not run"),
        ("missed", {"count": 1200, "failures": 1200}, "probe missed 1,200 runs"),
        ("late", {"waited": 600}, "probe has been queued for 10 min"),
        ("slow", {"limit": 300}, "probe is slow: it takes more than 5 min"),
        ("silent", {"limit": 86400}, "probe has not succeeded for 1 d"),
        ("paused", {"failures": 3}, "probe is paused after 3 failed runs in a row"),
        ("paused", {"failures": 1}, "probe is paused after a failed run"),
        (
            "paused",
            {"failures": 2, "until": "2026-03-01T13:00:00+00:00"},
            "probe is paused after 2 failed runs in a row, until 2026-03-01 13:00:00 UTC",
        ),
        (
            "recovered",
            {"since": "2026-03-01T10:00:00+00:00", "failures": 14},
            "probe works again after 2 h and 14 failed runs",
        ),
        (
            "recovered",
            {"since": "2026-02-26T12:00:00+00:00", "failures": 0},
            "probe works again after 3 d",
        ),
        (
            "flapping",
            {"failed": 5, "of": 9},
            "probe fails again and again: 5 of its last 9 runs failed",
        ),
    ],
)
def test_a_headline_says_what_happened(kind: str, details: dict[str, Any], expected: str) -> None:
    assert message.headline(alert(AlertKind(kind), **details)) == expected


def test_every_kind_has_a_headline() -> None:
    assert all(message.headline(alert(kind)).startswith("probe ") for kind in AlertKind)


def test_a_headline_names_the_schedule_rather_than_the_job() -> None:
    one = alert()
    one.schedule_name = "nightly"
    assert message.headline(one) == "nightly failed"


def test_a_failure_says_when_and_why_and_how_its_output_ended() -> None:
    run = wrote(fail(), "first\n", "".join(f"line {number}\n" for number in range(30)))
    text = message.compose([alert(run=run)])
    assert text.subject == "probe failed: RuntimeError: boom"
    lines = text.body.splitlines()
    assert lines[0] == "probe failed."
    assert "Job:       probe" in lines
    assert "Time:      2026-03-01 12:00:00 UTC" in lines
    why = next(line for line in lines if line.startswith("Why:"))
    assert why.startswith("Why:       Failed after 5")
    assert why.endswith("with exit code 1: RuntimeError: boom.")
    assert "    line 29" in lines
    assert "    line 10" in lines
    assert "    line 9" not in lines
    assert "Alert rule: all" in lines


def test_a_run_without_output_has_no_heading_for_it() -> None:
    assert "output" not in message.compose([alert(run=fail())]).body


def test_output_is_told_without_colours_and_progress_bars() -> None:
    run = wrote(fail(), "\x1b]0;title\x07\x1b[31mred\x1b(B\x1b[m\n", "10%\r20%\r100%\n", "\x07bell")
    body = message.compose([alert(run=run)]).body
    assert "    red\n    100%\n    \\x07bell\n" in body


def test_secrets_are_masked_wherever_they_are_quoted() -> None:
    error = outcome_of(RuntimeError("bad token s3cr3t-value"))
    run = wrote(end(error, options={"api_token": "s3cr3t-value"}), "got s3cr3t-value\n")
    text = message.compose([alert(run=run)])
    assert "s3cr3t-value" not in text.subject + text.body
    assert "********" in text.subject


def test_with_a_base_url_there_is_a_link_to_the_run(settings: Settings) -> None:
    override(settings, BASE_URL="https://jobs.example.com")
    run = fail()
    body = message.compose([alert(run=run)]).body
    assert f"Run:       https://jobs.example.com/admin/jobledger/run/{run.pk}/change/" in body


def test_without_a_base_url_there_is_no_link(settings: Settings) -> None:
    override(settings, BASE_URL="")
    assert "Run:" not in message.compose([alert(run=fail())]).body


def test_an_alert_about_no_run_has_a_link_to_the_schedule(settings: Settings) -> None:
    override(settings, BASE_URL="https://jobs.example.com")
    schedule = hourly()
    one = Alert.objects.create(kind=AlertKind.SILENT, job="probe", schedule=schedule, rule_name="all")
    assert f"/admin/django_celery_beat/periodictask/{schedule.pk}/change/" in message.compose([one]).body


def test_a_subject_is_one_line_and_short() -> None:
    run = end(outcome_of(RuntimeError("first\nsecond" + "x" * 500)))
    run.error = "first\r\nsecond" + "x" * 500
    one = alert(run=run)
    one.schedule_name = "two\nlines" + "y" * 300
    subject = message.compose([one]).subject
    assert "\n" not in subject
    assert "two\\nlines" in subject
    assert len(subject) == 150


def test_a_recovery_is_good_news_and_shows_no_output() -> None:
    text = message.compose([alert(AlertKind.RECOVERED, run=wrote(fail(), "out\n"), failures=2)])
    assert text.is_good_news
    assert "out" not in text.body.replace("without", "")


def test_several_alerts_are_a_summary(settings: Settings) -> None:
    override(settings, BASE_URL="https://jobs.example.com")
    run = end(CRASH, job="lasting")
    text = message.compose([alert(run=run), alert(AlertKind.LOST), alert(AlertKind.LOST)])
    assert text.subject == "3 alerts: 2 lost, 1 failed"
    assert "- 2026-03-01 12:00:00 UTC: lasting failed\n" in text.body
    assert f"  https://jobs.example.com/admin/jobledger/run/{run.pk}/change/" in text.body
    assert not text.is_good_news


def test_a_summary_about_one_job_names_it() -> None:
    assert message.compose([alert(), alert()]).subject == "2 alerts: probe: 2 failed"


def test_a_long_summary_lists_only_the_newest_and_begins_with_them() -> None:
    alerts = [alert(AlertKind.LOST, failures=number) for number in range(1000)]
    text = message.compose(alerts)
    assert text.body.count("- 2026") == 20
    assert "was lost 999 times" in text.body.splitlines()[2]
    assert "was lost 979 times" not in text.body
    assert "- and 980 more before these" in text.body


def test_a_summary_says_why_each_run_failed_and_how_its_output_ended() -> None:
    first = wrote(fail(), "".join(f"line {number}\n" for number in range(30)))
    second = wrote(end(LOST, job="lasting"), "halfway\n")
    lines = message.compose([alert(run=first), alert(AlertKind.LOST, run=second)]).body.splitlines()
    position = lines.index("- 2026-03-01 12:00:00 UTC: probe failed")
    assert lines[position + 1].endswith("RuntimeError: boom.")
    assert lines[position + 2 : position + 7] == [f"    line {number}" for number in range(25, 30)]
    assert "    halfway" in lines[:position]


def test_the_output_in_a_summary_is_limited_and_that_of_the_newest_kept() -> None:
    alerts = [alert(run=wrote(fail(), f"{number} {'x' * 400}\n" * 5)) for number in range(20)]
    body = message.compose(alerts).body
    assert f"    19 {'x' * 400}" in body
    assert "    0 x" not in body
    assert len(body) < message.MAX_OUTPUT_LENGTH + 20 * 200


def test_a_summary_quotes_no_secrets() -> None:
    error = outcome_of(RuntimeError("bad token s3cr3t-value"))
    run = wrote(end(error, options={"api_token": "s3cr3t-value"}), "got s3cr3t-value\n")
    text = message.compose([alert(run=run), alert(run=run)])
    assert "s3cr3t-value" not in text.body + text.short_body
    assert "got ********" in text.body


def test_there_is_a_short_text_for_services_with_a_limit(settings: Settings) -> None:
    """Of which 2,000 characters is a common one."""
    override(settings, BASE_URL="https://jobs.example.com")
    output = "".join(f"line {number} {'x' * 400}\n" for number in range(100))
    runs = [wrote(end(outcome_of(RuntimeError("y" * 5000))), output) for _ in range(30)]
    one = message.compose([alert(run=runs[0])])
    several = message.compose([alert(run=run) for run in runs])
    assert len(one.body) > 2000
    assert len(one.subject + one.short_body) < 1900
    assert len(several.subject + several.short_body) < 1900
    for text in one, several:
        assert "line 99" in text.short_body
        assert "/admin/jobledger/run/" in text.short_body


def test_the_output_of_a_run_is_read_once_for_both_texts() -> None:
    alerts = [alert(run=wrote(fail(), "a line\n")) for _ in range(3)]
    for some in alerts[:1], alerts:
        with CaptureQueriesContext(connection) as queries:
            text = message.compose(some)
        assert "    a line" in text.body
        assert "    a line" in text.short_body
        assert sum("jobledger_runoutput" in each["sql"] for each in queries) == len(some)


def test_a_test_says_that_it_is_one() -> None:
    assert message.test_message("team").subject == "Test of alerts"
    assert "“team”" in message.test_message("team").body


def test_an_alert_whose_run_is_gone_is_still_told() -> None:
    one = alert()
    assert message.compose([one]).body.startswith("probe failed.\n")


def test_a_test_names_its_destination_on_one_line() -> None:
    assert "destination “a\\nb”." in message.test_message("a\nb").body
