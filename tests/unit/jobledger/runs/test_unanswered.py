"""What the database has not answered is done once, and never said not to have been done."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError
from pytest_django import Settings

from jobledger.admin.runs import changes
from jobledger.jobs import registry
from jobledger.models import AuditEntry, Reason, Run, Status, Trigger, Why
from jobledger.runs import dispatch, unanswered
from jobledger.runs.overlap import Guard, OverlapError
from jobledger.runs.unanswered import UnansweredError, certain
from tests.unit.broker import Broker
from tests.unit.builders import make_user, override
from tests.unit.unanswered import ENDED, losing_the_answer

pytestmark = pytest.mark.django_db(transaction=True)

PROBE = dispatch.RunRequest(job="probe", options={"words": ["hello"]}, trigger=Trigger.CLI)
HELD = Why.of(Reason.OVERLAP)
REFUSED = "connection refused"
either = pytest.mark.parametrize("is_committed", [True, False])
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _impatient(settings: Settings) -> None:
    override(settings, HEARTBEAT_SECONDS=0.001, LEASE_SECONDS=0.003)


@either
def test_a_job_on_the_command_line_is_recorded_in_one_run(is_committed: bool, capsys: Capture) -> None:
    with losing_the_answer(is_committed=is_committed):
        call_command("probe", "hello")
    run = Run.objects.get()
    assert (run.status, run.trigger) == (Status.SUCCEEDED, Trigger.CLI)
    assert capsys.readouterr() == ("hello\n", "")


@either
def test_so_is_one_that_must_not_overlap_with_itself(is_committed: bool) -> None:
    guard = Guard(key="probe", concurrency=registry.find("probe").declaration.concurrency, max_queued=1)
    with losing_the_answer(is_committed=is_committed):
        run = dispatch.begin(PROBE, worker="w", guard=guard)
    assert Run.objects.get() == run
    with pytest.raises(OverlapError):
        dispatch.begin(PROBE, worker="w", guard=guard)


@either
def test_the_line_of_a_crontab_is_continued_once(is_committed: bool) -> None:
    line_id = uuid4()
    with losing_the_answer(is_committed=is_committed):
        run = dispatch.begin(PROBE, worker="w", line_id=line_id)
    assert (Run.objects.get().pk, run.pk) == (line_id, line_id)


@either
@pytest.mark.parametrize("line_id", [None, uuid4()])
def test_a_skipped_run_is_recorded_once(is_committed: bool, line_id: None) -> None:
    with losing_the_answer(is_committed=is_committed):
        run = dispatch.skip(PROBE, why=HELD, exit_code=75, line_id=line_id)
    assert Run.objects.get() == run
    assert (run.status, run.reason) == (Status.SKIPPED, Reason.OVERLAP)


def test_a_job_runs_and_says_that_its_record_is_unknown_if_the_database_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(dispatch, "_ours", refuse)
    with losing_the_answer(is_committed=True):
        call_command("probe", "hello")
    assert capsys.readouterr() == ("hello\n", f"It is unknown whether this run is recorded: {REFUSED}\n")


# Runs that are queued.


@either
def test_a_call_queues_one_run_and_sends_its_message(
    is_committed: bool, broker: Broker, capsys: Capture
) -> None:
    with losing_the_answer(is_committed=is_committed):
        call_command("jobledger", "call", "probe", "hello")
    run = Run.objects.get()
    assert capsys.readouterr().out == f"{run.pk}\n"
    assert {message.task_id for message in broker.messages} == {str(run.pk)}
    assert AuditEntry.objects.count() == 1


@either
def test_a_run_is_repeated_once(is_committed: bool, broker: Broker, capsys: Capture) -> None:
    old = Run.objects.create(job="probe", trigger=Trigger.CLI, status=Status.FAILED)
    with losing_the_answer(is_committed=is_committed):
        call_command("jobledger", "retry", str(old.pk))
    new = Run.objects.exclude(pk=old.pk).get()
    assert capsys.readouterr().out == f"{new.pk}\n"


@either
def test_users_start_one_run(is_committed: bool, broker: Broker) -> None:
    user = make_user()
    with losing_the_answer(is_committed=is_committed):
        run = changes.start_job(user, registry.find("probe"), {})
    assert Run.objects.get() == run


@either
def test_a_request_that_is_to_start_a_run_once_is_no_repetition_of_itself(
    is_committed: bool, broker: Broker
) -> None:
    user, once = make_user(), dispatch.Once(run_id=uuid4(), request_digest="x")
    user = make_user()
    with losing_the_answer(is_committed=is_committed):
        run = changes.start_job(user, registry.find("probe"), {}, once=once)
    assert (run.pk, Run.objects.get().pk) == (once.run_id, once.run_id)


def test_a_command_does_not_say_that_nothing_was_done(
    monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    monkeypatch.setattr(dispatch, "_enqueued", refuse)
    expected = rf"cannot be queried: {REFUSED}. It has not answered: what was to be changed may be saved"
    with losing_the_answer(is_committed=True), pytest.raises(CommandError, match=expected):
        call_command("jobledger", "call", "probe")


# In general.


def refuse(*args: object) -> None:
    raise OperationalError(REFUSED)


def once_lost(*later: Callable[[], str]) -> Callable[[], str]:
    """Something that is not answered at first, and does these things when it is repeated."""
    steps = iter([lose, *later])

    def write() -> str:
        return next(steps)()

    return write


def lose() -> str:
    with unanswered.noticed():
        raise OperationalError(ENDED)


def conflict() -> str:
    raise IntegrityError("duplicate key")


def surely(write: Callable[[], str], look_up: Callable[[], str | None]) -> str:
    return certain(write, look_up, what="it was done", within_seconds=60)


def test_what_was_committed_only_after_the_look_is_found_by_another() -> None:
    looks = iter([None, "found"])
    assert surely(once_lost(conflict), lambda: next(looks)) == "found"


def test_an_error_of_the_repetition_is_raised_if_nothing_is_found() -> None:
    with pytest.raises(IntegrityError):
        surely(once_lost(conflict), lambda: None)


def test_it_is_repeated_as_often_as_it_is_not_answered() -> None:
    assert surely(once_lost(lose, lose, lambda: "done"), lambda: None) == "done"


def test_an_error_that_is_no_outage_ends_the_wait() -> None:
    with pytest.raises(IntegrityError):
        surely(once_lost(), conflict)


def test_it_is_unknown_if_the_database_is_not_back_in_time() -> None:
    with pytest.raises(UnansweredError, match=REFUSED):
        certain(once_lost(), refuse, what="it was done", within_seconds=0)


def test_an_error_before_there_is_a_connection_leaves_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", refuse)
    with pytest.raises(OperationalError, match=REFUSED) as error, unanswered.noticed():
        pass
    assert not isinstance(error.value, UnansweredError)
