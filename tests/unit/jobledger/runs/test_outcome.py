"""Whatever an exception does when it is read, its run has failed, and as much as can be read is recorded."""

from typing import Any, Never

import pytest
from django.core.management import CommandError

from jobledger import management
from jobledger.models import Run, Status
from jobledger.runs import outcome
from jobledger.runs.execution import runner
from jobledger.runs.outcome import outcome_of
from tests.probes.management.commands import plain_probe
from tests.probes.management.commands.probe import Command

UNREADABLE = "<exception str() failed>"


class MuteError(Exception):
    """Its message is computed, from something that is not there."""

    def __str__(self) -> str:
        raise KeyError("msg")


class NoTextError(Exception):
    """Its message is no string."""

    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307 - as such jobs do


class ExitingError(Exception):
    """Reading it would end the process."""

    def __str__(self) -> str:
        raise SystemExit(0)


class MuteCommandError(CommandError):
    """A ``CommandError`` of the kind."""

    __str__ = MuteError.__str__


class Mute:
    """An exit code, or a note."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Never:
        raise TypeError("not comparable")

    def __str__(self) -> str:
        raise KeyError("msg")

    __repr__ = __str__


class MuteNotesError(Exception):
    """Even the list of its notes cannot be had."""

    @property
    def __notes__(self) -> Never:  # type: ignore[override]
        raise KeyError("notes")


class MuteExit(SystemExit):
    """Its code cannot be had."""

    @property
    def code(self) -> Never:  # type: ignore[override]
        raise KeyError("code")


def with_note(error: Exception, note: Any) -> Exception:
    error.__notes__ = [note]
    return error


def caused_by(cause: BaseException) -> Exception:
    error = ValueError("outer")
    error.__cause__ = cause
    return error


ERRORS = [
    MuteError(),
    NoTextError(),
    ExitingError(),
    MuteCommandError(),
    MuteNotesError("text"),
    SystemExit(Mute()),
    MuteExit(),
    CommandError("text", returncode=Mute()),  # type: ignore[arg-type]
    ValueError(Mute()),
    with_note(ValueError("text"), Mute()),
    caused_by(MuteError()),
    ExceptionGroup("several", [MuteError(), ValueError(Mute())]),
    BaseExceptionGroup("several", [MuteExit(), MuteNotesError()]),
]


def named(error: object) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", ERRORS, ids=named)
def test_every_error_is_a_failure(error: BaseException) -> None:
    found = outcome_of(error)
    assert (found.status, found.exit_code, found.cause) == (Status.FAILED, 1, error)


def test_an_error_without_a_text_keeps_its_type_and_traceback() -> None:
    found = outcome_of(MuteError())
    assert found.why.details == {"type": "MuteError", "module": __name__}
    assert found.error == f"MuteError: {UNREADABLE}"
    assert f"MuteError: {UNREADABLE}" in found.traceback


def test_what_can_be_read_is_recorded() -> None:
    assert outcome_of(MuteCommandError()).error == UNREADABLE
    assert outcome_of(SystemExit(Mute())).error == UNREADABLE
    assert outcome_of(MuteNotesError("text")).error == "MuteNotesError: text"
    assert "ValueError: outer" in outcome_of(caused_by(MuteError())).traceback
    group = outcome_of(ExceptionGroup("several", [MuteError(), ValueError("other")])).traceback
    assert "ValueError: other" in group


@pytest.mark.parametrize(("code", "status"), [(0, "succeeded"), (None, "succeeded"), (0.0, "failed")])
def test_an_exit_succeeds_if_python_would_exit_with_0(code: object, status: str) -> None:
    assert outcome_of(SystemExit(code)).status == status


@pytest.mark.parametrize(("returncode", "exit_code"), [(3, 3), (256, 0), (None, 0), ("text", 1)])
def test_a_command_error_exits_as_django_makes_it(returncode: Any, exit_code: int) -> None:
    found = outcome_of(CommandError("text", returncode=returncode))
    assert (found.status, found.exit_code, found.error) == (Status.FAILED, exit_code, "text")


def raising(monkeypatch: pytest.MonkeyPatch, command: Any, error: BaseException) -> None:
    def handle(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(command, "handle", handle)


@pytest.mark.django_db
@pytest.mark.parametrize("error", ERRORS, ids=named)
def test_it_fails_a_run_in_a_worker(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    raising(monkeypatch, Command, error)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.exit_code) == ("failed", 1)


@pytest.mark.django_db
def test_it_fails_a_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(*args: Any, **options: Any) -> None:
        raise MuteError

    monkeypatch.setattr(Command, "handle", handle)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.error) == ("failed", f"MuteError: {UNREADABLE}")


@pytest.mark.django_db
@pytest.mark.parametrize("error", ERRORS, ids=named)
@pytest.mark.parametrize(("name", "command"), [("probe", Command), ("plain_probe", plain_probe.Command)])
def test_it_fails_a_run_on_the_command_line_and_is_raised_as_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, command: Any, error: BaseException
) -> None:
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)
    raising(monkeypatch, command, error)
    # So that Django does not exit, or print a CommandError.
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whatever it is
        management.execute_from_command_line(["manage.py", name, "--traceback"])
    assert raised.value is error
    assert raised.value.__context__ is None
    run = Run.objects.get()
    assert (run.status, run.exit_code, run.job) == ("failed", 1, name)


@pytest.mark.django_db
def test_it_fails_a_job_that_another_one_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)
    raising(monkeypatch, Command, MuteError())
    with pytest.raises(MuteError):
        management.execute_from_command_line(["manage.py", "plain_probe", "--call-job"])
    assert set(Run.objects.values_list("job", "status")) == {("plain_probe", "failed"), ("probe", "failed")}


@pytest.mark.django_db
def test_a_run_whose_error_cannot_be_judged_at_all_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, Command, ValueError("text"))

    def fail(*args: object) -> Never:
        raise RuntimeError

    monkeypatch.setattr(outcome, "_outcome_of", fail)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.reason_details) == ("failed", {"type": "ValueError"})


@pytest.mark.django_db
def test_a_run_whose_error_cannot_be_masked_has_failed_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raising(monkeypatch, Command, ValueError("text"))

    def fail(*args: object) -> Never:
        raise RuntimeError

    monkeypatch.setattr("jobledger.jobs.secrets.without_secrets", fail)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.error, ended.run.traceback) == ("failed", "", "")
