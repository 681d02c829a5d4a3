"""What a job registers with ``atexit`` is called at the end of its run."""

import atexit
import importlib
import os
import sys
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobledger.jobs import registry
from jobledger.models import Run, RunOutput, Trigger
from jobledger.runs.execution import exit_functions, runner
from jobledger.runs.execution.exit_functions import called
from jobledger.runs.processes import billiard_internals


@pytest.fixture
def steps() -> list[Any]:
    return []


@pytest.fixture(autouse=True)
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes when the process is to be replaced."""
    done: list[str] = []
    monkeypatch.setattr(billiard_internals, "exit_after_this_task", lambda: done.append("replaced"))
    return done


def test_the_last_one_is_called_first_and_the_process_replaced(steps: list[Any], replaced: list[str]) -> None:
    before = atexit.register, atexit.unregister
    with called():
        atexit.register(steps.append, "first")
        atexit.register(lambda **given: steps.append(given), x=1)
        steps.append("job")
    assert steps == ["job", {"x": 1}, "first"]
    assert replaced == ["replaced"]
    assert (atexit.register, atexit.unregister) == before


def test_the_process_of_a_job_that_registers_none_is_not_replaced(replaced: list[str]) -> None:
    with called():
        pass
    assert replaced == []


def test_those_that_were_registered_before_are_not_called(steps: list[Any]) -> None:
    atexit.register(steps.append, "before")
    before = atexit._ncallbacks()
    with called():
        atexit.register(steps.append, "in the run")
    assert (steps, atexit._ncallbacks()) == (["in the run"], before)
    atexit.unregister(steps.append)


def test_they_are_called_after_a_failure(steps: list[Any]) -> None:
    def job() -> None:
        with called():
            atexit.register(steps.append, "called")
            raise LookupError

    with pytest.raises(LookupError):
        job()
    assert steps == ["called"]


@pytest.mark.parametrize("error", [LookupError("not there"), SystemExit(3)])
def test_an_error_is_printed_and_harms_nobody(
    error: BaseException, steps: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with called():
        atexit.register(steps.append, "called")
        atexit.register(fail)
    assert steps == ["called"]
    printed = capsys.readouterr().err
    assert printed.startswith("Exception ignored in atexit callback: <function ")
    assert repr(error).partition("(")[0] in printed


def test_an_interrupt_is_raised_once_all_were_called(steps: list[Any]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def job() -> None:
        with called():
            atexit.register(steps.append, "called")
            atexit.register(interrupted)

    with pytest.raises(KeyboardInterrupt):
        job()
    assert steps == ["called"]


def test_one_that_was_unregistered_is_not_called(steps: list[Any]) -> None:
    leave = partial(steps.append, "called")
    with called():
        atexit.register(leave)
        atexit.unregister(leave)
    assert steps == []


def test_one_that_another_one_registers_is_called(steps: list[Any]) -> None:
    with called():
        atexit.register(lambda: atexit.register(steps.append, "called"))
    assert steps == ["called"]


def test_what_cannot_be_called_is_rejected_as_python_does() -> None:
    with called(), pytest.raises(TypeError):
        atexit.register(5)  # type: ignore[arg-type]


def test_what_a_module_registers_when_it_is_imported_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lasting_library.py").write_text(
        "import atexit\nsteps = []\ndef close():\n    steps.append('closed')\natexit.register(close)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with called():
        import lasting_library  # type: ignore[import-not-found]
    assert lasting_library.steps == []
    atexit.unregister(lasting_library.close)
    del sys.modules["lasting_library"]


def test_finalizers_of_objects_are_not_called(steps: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weakref.finalize, "_registered_with_atexit", False)
    kept = threading.Event()
    with called():
        finalizer = weakref.finalize(kept, steps.append, "finalized")
    assert (steps, finalizer.alive, vars(weakref.finalize)["_shutdown"]) == ([], True, False)
    finalizer.detach()


def test_a_process_that_the_job_has_forked_does_not_call_them(
    steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with called():
        atexit.register(steps.append, "called")
        monkeypatch.setattr(os, "getpid", lambda: -1)
    assert steps == []


@pytest.mark.django_db
@pytest.mark.parametrize("fails", [False, True])
def test_what_they_print_is_on_the_run(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(self: Any, *args: Any, **options: Any) -> None:
        atexit.register(print, "lock removed")
        atexit.register(lambda: 1 / 0)
        print("job")
        if fails:
            raise LookupError

    monkeypatch.setattr(registry.find("asynchronous").command_class, "handle", handle)
    run = Run.objects.create(job="asynchronous", trigger=Trigger.SCHEDULE)
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    text = "".join(RunOutput.objects.filter(run=run).in_order().values_list("text", flat=True))
    assert ended.run.status == ("failed" if fails else "succeeded")
    assert text.startswith("job\nException ignored in atexit callback")
    assert text.rstrip().endswith("lock removed")


def test_python_still_calls_imports_as_we_expect() -> None:
    code = vars(importlib)["_bootstrap"]._find_and_load.__code__
    assert code.co_filename == exit_functions._IMPORT
