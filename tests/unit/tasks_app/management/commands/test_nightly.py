"""``nightly`` runs its jobs one after another, each as a child run."""

import io
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobledger.models import Run, RunOutput
from tasks_app.management.commands import cleanup_tokens, compute_daily_stats, nightly
from tests.unit.builders import make_user, output_of, run_for_slot, utc

pytestmark = pytest.mark.django_db


def children() -> list[tuple[str, str]]:
    parent = Run.objects.get(job="nightly")
    return list(Run.objects.filter(parent=parent).order_by("queued_at").values_list("job", "status"))


def break_job(monkeypatch: pytest.MonkeyPatch, module: Any, error: BaseException) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(module.Command, "handle", fail)


def test_each_job_is_a_child_run() -> None:
    output_of("nightly")
    assert Run.objects.get(job="nightly").status == "succeeded"
    assert children() == [
        ("cleanup_tokens", "succeeded"),
        ("compute_daily_stats", "succeeded"),
        ("normalize_emails", "succeeded"),
    ]


def test_the_jobs_output_is_its_own_and_the_composites() -> None:
    printed = output_of("nightly")
    assert "Deleted 0 tokens" in printed
    assert "checked 0 / changed 0 (commit)" in printed
    assert RunOutput.objects.get(run__job="nightly").text == printed
    assert RunOutput.objects.get(run__job="normalize_emails").text == "checked 0 / changed 0 (commit)\n"


def test_the_jobs_count_from_the_composites_slot() -> None:
    run_for_slot("nightly", utc(2026, 3, 2, 3))
    assert RunOutput.objects.get(run__job="compute_daily_stats").text.startswith("2026-03-01: ")


def test_a_failed_job_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    break_job(monkeypatch, compute_daily_stats, CommandError("no orders today"))
    stderr = io.StringIO()
    with pytest.raises(CommandError, match=r"^Failed: compute_daily_stats\.$"):
        call_command("nightly", stdout=io.StringIO(), stderr=stderr)
    assert stderr.getvalue() == "compute_daily_stats failed: no orders today\n"
    assert children() == [
        ("cleanup_tokens", "succeeded"),
        ("compute_daily_stats", "failed"),
        ("normalize_emails", "succeeded"),
    ]


def test_the_composites_run_names_all_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    break_job(monkeypatch, cleanup_tokens, ZeroDivisionError("oh"))
    break_job(monkeypatch, compute_daily_stats, SystemExit(3))
    run = run_for_slot("nightly", utc(2026, 3, 2, 3))
    assert (run.status, run.exit_code) == ("failed", 1)
    assert run.error == "Failed: cleanup_tokens, compute_daily_stats."


def test_fail_fast_stops_at_the_first_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    break_job(monkeypatch, compute_daily_stats, ZeroDivisionError("oh"))
    with pytest.raises(CommandError, match=r"^Failed: compute_daily_stats\.$"):
        call_command("nightly", "--fail-fast", stdout=io.StringIO(), stderr=io.StringIO())
    assert children() == [("cleanup_tokens", "succeeded"), ("compute_daily_stats", "failed")]


def test_the_jobs_own_errors_are_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ZeroDivisionError("oh")
    break_job(monkeypatch, cleanup_tokens, error)
    with pytest.raises(CommandError) as raised:
        call_command("nightly", stdout=io.StringIO(), stderr=io.StringIO())
    assert isinstance(raised.value.__cause__, BaseExceptionGroup)
    assert raised.value.__cause__.exceptions == (error,)


def test_a_job_that_exits_with_0_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup_tokens.Command, "handle", lambda *args, **options: sys.exit(0))
    output_of("nightly")
    assert Run.objects.get(job="nightly").status == "succeeded"


def test_an_interrupt_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    break_job(monkeypatch, cleanup_tokens, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        output_of("nightly")
    assert children() == [("cleanup_tokens", "cancelled")]


def test_verbosity_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        cleanup_tokens.Command, "handle", lambda *args, **options: seen.append(options["verbosity"])
    )
    output_of("nightly", "--verbosity=2")
    assert seen == [2]


def test_the_stderr_of_a_job_is_not_lost() -> None:
    make_user("İ" * 250 + "@b.d")
    stderr = io.StringIO()
    call_command("nightly", stdout=io.StringIO(), stderr=stderr)
    assert "would be too long" in stderr.getvalue()


def test_it_declares_a_schedule_at_three() -> None:
    assert [schedule.cron for schedule in nightly.Command.schedules] == ["0 3 * * *"]
