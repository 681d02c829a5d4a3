"""What a job leaves behind is named on its run, without secrets, and without changing how the run ended."""

import pytest

from jobledger.models import Run, Status
from jobledger.runs.processes import leftovers
from jobledger.runs.processes.leftovers import MAX_RECORDED, Leftover

pytestmark = pytest.mark.django_db


def recorded(*found: Leftover, **values: object) -> Run:
    run = Run.objects.create(job="talking", trigger="celery", status=Status.SUCCEEDED, **values)
    leftovers.record(run, found)
    run.refresh_from_db()
    return run


def test_processes_and_threads_are_named_and_the_status_stays() -> None:
    run = recorded(Leftover(pid=7, name="sleep 600"), Leftover(name="poller"))
    assert leftovers.described(run) == "process 7 (sleep 600), thread poller"
    assert run.status == "succeeded"


def test_what_an_earlier_attempt_has_left_is_kept() -> None:
    run = recorded(Leftover(pid=7, name="sleep 600"))
    leftovers.record(run, [Leftover(name="poller")])
    run.refresh_from_db()
    assert leftovers.described(run) == "process 7 (sleep 600), thread poller"


def test_the_runs_own_secrets_are_masked() -> None:
    run = recorded(Leftover(pid=7, name="curl http://x/abcdef"), options={"api_key": "abcdef"})
    assert leftovers.described(run) == "process 7 (curl http://x/********)"


def test_control_characters_are_escaped() -> None:
    run = recorded(Leftover(pid=7, name="sh -c a\nb\x1b]0;x"), Leftover(name="\x00\udc80"))
    assert leftovers.described(run) == r"process 7 (sh -c a\nb\x1b]0;x), thread \x00\udc80"


def test_their_number_and_length_are_limited() -> None:
    run = recorded(*(Leftover(name="x" * 1000) for _ in range(MAX_RECORDED + 1)))
    assert [len(each["name"]) for each in run.left_behind] == [200] * MAX_RECORDED


def test_without_any_nothing_is_written() -> None:
    assert recorded().left_behind == []


def test_what_is_neither_a_process_nor_a_thread_is_left_out() -> None:
    run = recorded(Leftover(name="poller"), left_behind=[5, "x", {"pid": 7}, {"name": 7}])
    assert leftovers.described(run) == "thread poller"
