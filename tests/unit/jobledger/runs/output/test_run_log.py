"""What a job logs is on its run, once, with its level; what the service logs is in the worker's log."""

import errno
import io
import logging
import logging.config
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast
from unittest import mock

import pytest
from celery.utils.log import ColorFormatter

from jobledger.models import Stream
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.output.run_log import RunLog, by_service
from jobledger.runs.output.streams import RunStream

WORKER_LOG = "[%(levelname)s/ForkPoolWorker-1] %(message)s"


class Logs:
    """A run's log in a worker."""

    def __init__(self) -> None:
        self.run: list[tuple[Stream, str]] = []
        self.worker = io.StringIO()

    def write(self, stream: Stream, text: str) -> None:
        self.run.append((stream, text))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.run)


@pytest.fixture(autouse=True)
def shop() -> Iterator[logging.Logger]:
    """A logger that is afterwards as if it had not been used."""
    logger = logging.getLogger("shop")
    yield logger
    logger.handlers, logger.propagate = [], True


def handler(stream: Any, formatter: logging.Formatter | None = None) -> logging.Handler:
    made = logging.StreamHandler(stream)
    made.setFormatter(formatter)
    return made


@contextmanager
def recording(*handlers: logging.Handler, by_worker: bool = True) -> Iterator[Logs]:
    """Record a run whose process has these handlers; the default is Celery's own, and no other."""
    logs, before = Logs(), logging.root.handlers
    logging.root.handlers = list(handlers) or [celerys_own()]
    workers = dict.fromkeys(Stream, lambda: cast("TextIO", logs.worker))
    log = RunLog(logs.write, workers if by_worker else None)
    log.begin()
    try:
        yield logs
    finally:
        log.end()
        logging.root.handlers = before


def celerys_own() -> logging.Handler:
    return handler(sys.__stderr__, ColorFormatter(WORKER_LOG, use_color=False))


def test_a_record_is_on_the_run_with_level_and_logger_and_not_in_the_workers_log() -> None:
    with recording() as logs:
        logging.getLogger("shop.orders").warning("late by %d", 3)
    ((stream, text),) = logs.run
    assert stream is Stream.STDERR
    assert text.endswith(" WARNING shop.orders: late by 3\n")
    assert logs.worker.getvalue() == ""


@pytest.mark.parametrize("name", ["jobledger.runs.lease.heartbeat", "jobledger"])
def test_the_services_records_are_in_the_workers_log_only(name: str) -> None:
    with recording() as logs:
        logging.getLogger(name).warning("trouble")
    assert logs.run == []
    assert logs.worker.getvalue() == "[WARNING/ForkPoolWorker-1] trouble\n"


def test_what_a_thread_of_the_service_logs_is_not_the_jobs() -> None:
    def beat() -> None:
        with by_service():
            logging.getLogger("django.db.backends").warning("slow")

    with recording() as logs:
        thread = threading.Thread(target=beat)
        thread.start()
        thread.join()
    assert logs.run == []
    assert "slow" in logs.worker.getvalue()


def test_a_workers_log_in_a_file_gets_nothing_from_jobs(tmp_path: Path) -> None:
    file = logging.FileHandler(tmp_path / "worker.log")
    file.setFormatter(ColorFormatter(WORKER_LOG, use_color=False))
    with recording(file) as logs:
        logging.getLogger("shop").warning("of the job")
        logging.getLogger("jobledger").warning("of the service")
    file.close()
    assert "WARNING shop: of the job" in logs.text
    assert (tmp_path / "worker.log").read_text() == "[WARNING/ForkPoolWorker-1] of the service\n"


@pytest.mark.parametrize("stream", Stream)
def test_a_handler_of_the_project_decides_on_format_and_stream(stream: Stream) -> None:
    original = getattr(sys, f"__{stream}__")
    logging.getLogger("shop").addHandler(handler(original, logging.Formatter("%(levelname)s! %(message)s")))
    with recording() as logs:
        logging.getLogger("shop.orders").error("late")
    assert logs.run == [(stream, "ERROR! late\n")]


def test_handlers_keep_their_levels_and_filters() -> None:
    strict = handler(sys.__stderr__)
    strict.setLevel(logging.ERROR)
    strict.addFilter(lambda record: "secret" not in record.getMessage())
    with recording(strict) as logs:
        logging.getLogger("shop").warning("below")
        logging.getLogger("shop").error("secret")
        logging.getLogger("shop").error("shown")
    assert [text.partition(": ")[2] for _, text in logs.run] == ["shown\n"]


def test_a_logger_that_does_not_propagate_and_writes_to_a_file_is_on_the_run_too(
    shop: logging.Logger, tmp_path: Path
) -> None:
    shop.addHandler(logging.FileHandler(tmp_path / "shop.log"))
    shop.propagate = False
    with recording() as logs:
        shop.warning("late")
    shop.handlers[0].close()
    assert logs.text.endswith("WARNING shop: late\n")
    assert (tmp_path / "shop.log").read_text() == "late\n"


def test_without_any_handler_a_record_is_on_the_run_with_its_level() -> None:
    with recording(logging.NullHandler()) as logs:
        logging.getLogger("shop").warning("late")
    assert logs.text.endswith("WARNING shop: late\n")


def test_a_handler_of_unknown_kind_may_write_itself_so_its_records_are_not_recorded_again() -> None:
    written: list[str] = []

    class Console(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    with recording(Console()) as logs:
        logging.getLogger("shop").warning("late")
    assert (written, logs.run) == (["late"], [])


def test_a_record_that_cannot_be_formatted_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with recording():
        logging.getLogger("shop").warning("%d", "no number")
    assert "--- Logging error ---" in capsys.readouterr().err


def test_what_a_job_does_to_logging_ends_with_its_run(shop: logging.Logger) -> None:
    root = celerys_own()
    with recording(root):
        logging.basicConfig(force=True, level=logging.DEBUG)
        logging.getLogger("shop").setLevel(logging.CRITICAL)
        logging.getLogger("shop").addHandler(logging.StreamHandler())
        logging.getLogger("shop").propagate = False
        logging.disable(logging.ERROR)
    assert (shop.level, shop.handlers, shop.propagate) == (logging.NOTSET, [], True)
    assert logging.root.manager.disable == logging.NOTSET
    assert root.filters == []
    assert root.stream is sys.__stderr__  # type: ignore[attr-defined]


def test_a_stream_that_a_job_gives_to_a_handler_is_replaced_by_the_handlers_own() -> None:
    root = celerys_own()
    with recording(root):
        root.setStream(io.StringIO())  # type: ignore[attr-defined]
    assert root.stream is sys.__stderr__  # type: ignore[attr-defined]


def test_a_handler_that_the_job_has_added_writes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = OutputRecorder(1000)
    monkeypatch.setattr(sys, "stdout", RunStream(recorder, Stream.STDOUT))
    with recording() as logs:
        logging.getLogger("shop").addHandler(handler(sys.stdout))
        logging.getLogger("shop").warning("late")
    assert logs.run == []
    assert [piece.text for piece in recorder.unsaved()] == ["late\n"]


def test_a_logger_configured_by_a_module_that_the_job_imports_works_in_the_next_run() -> None:
    name = "imported by the job"
    own = handler(RunStream(OutputRecorder(1000), Stream.STDERR))
    with recording():
        logging.getLogger(name).addHandler(own)
    assert own.stream is sys.__stderr__  # type: ignore[attr-defined]
    with recording() as second:
        logging.getLogger(name).warning("late")
    assert second.text.endswith("WARNING imported by the job: late\n")
    assert len(second.run) == 1


def test_on_the_command_line_handlers_get_the_records_too() -> None:
    target = io.StringIO()
    target.fileno = lambda: 2  # type: ignore[method-assign]
    root = handler(target, logging.Formatter("%(levelname)s %(message)s"))
    with recording(root, by_worker=False) as logs:
        logging.getLogger("shop").warning("late")
        logging.getLogger("jobledger").warning("of the service")
    assert target.getvalue() == "WARNING late\nWARNING of the service\n"
    assert logs.run == [(Stream.STDERR, "WARNING late\n")]


def test_a_job_that_has_closed_the_workers_log_does_not_get_the_services_errors() -> None:
    def closed() -> TextIO:
        raise OSError(errno.EBADF, "Bad file descriptor")

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = RunLog(lambda stream, text: None, dict.fromkeys(Stream, closed))
    with mock.patch.object(sys, "stderr", stream), mock.patch.object(logging.root, "handlers", [handler]):
        log.begin()
        logging.getLogger("jobledger").warning("something is wrong")
        log.end()
    assert stream.getvalue() == "something is wrong\n"
