"""A ``handle`` that is a coroutine function is awaited, and ends as any other one does."""

import asyncio
import contextvars
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand

from jobledger.models import Reason, Run, Status, Trigger, Why
from jobledger.runs.execution import runner
from jobledger.runs.execution.coroutines import awaited
from jobledger.runs.lease.interrupts import JobCancelled, interruptible
from tests.shapes.management.commands.asynchronous import Command

variable = contextvars.ContextVar("variable", default="")


def run(handle: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def with_arguments(self: BaseCommand, *args: Any, **options: Any) -> Any:
        return await handle()

    command = type("Command", (BaseCommand,), {"handle": with_arguments})()
    with awaited(command):
        return command.handle()


def test_its_result_is_returned() -> None:
    async def handle() -> str:
        await asyncio.sleep(0)
        return variable.get()

    token = variable.set("seen")
    assert run(handle) == "seen"
    variable.reset(token)


def test_synchronous_code_runs_in_the_thread_of_the_job() -> None:
    async def handle() -> str:
        return str(await sync_to_async(threading.get_ident)())

    assert run(handle) == str(threading.get_ident())


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_cancels_it_and_its_cleanup_runs(number: signal.Signals, error: type[BaseException]) -> None:
    steps: list[str] = []

    async def handle() -> None:
        # Twice, as an impatient user does.
        for _ in range(2):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            await sync_to_async(steps.append)("cleaned up")

    def leave(*args: Any) -> None:
        raise error

    before = signal.signal(number, leave)
    try:
        with pytest.raises(error):
            run(handle)
    finally:
        signal.signal(number, before)
    assert steps == ["cleaned up"]


def test_an_interrupt_by_the_service_cancels_it() -> None:
    interrupt = JobCancelled(Why.of(Reason.USER, user="ann"), run_id=Run().pk)
    steps: list[str] = []
    with interruptible() as interrupter:

        async def handle() -> None:
            interrupter.interrupt(interrupt)
            try:
                await asyncio.sleep(3600)
            finally:
                steps.append("cleaned up")

        with pytest.raises(JobCancelled) as raised:
            run(handle)
    assert raised.value is interrupt
    assert steps == ["cleaned up"]


def test_handlers_of_signals_are_restored() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}

    async def handle() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        run(handle)
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize("fails", [False, True])
def test_no_thread_is_left(fails: bool) -> None:
    # Those of other tests may end meanwhile.
    before = set(threading.enumerate())

    async def handle() -> None:
        await sync_to_async(threading.get_ident)()
        if fails:
            raise LookupError

    # The error keeps the frames of the loop until the end of the block.
    with suppress(LookupError) if not fails else pytest.raises(LookupError) as error:
        run(handle)
    assert set(threading.enumerate()) <= before
    assert (error is not None) == fails


@pytest.mark.django_db
def test_a_coroutine_uses_the_jobs_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    Run.objects.create(job="other", trigger=Trigger.CLI)
    mine = Run.objects.create(job="asynchronous", trigger=Trigger.CELERY)

    async def handle(self: Command, *args: Any, **options: Any) -> str:
        # In the transaction of this test, which no other connection sees.
        return str(await Run.objects.acount())

    monkeypatch.setattr(Command, "handle", handle)
    ended = runner.execute(mine.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.last_line) == (Status.SUCCEEDED, "2")
