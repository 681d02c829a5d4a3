"""The logs of workers and beat have one line per message, too."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery.app.log import TaskFormatter
from celery.app.trace import LOG_FAILURE, LOG_IGNORED, LOG_RECEIVED, LOG_SUCCESS
from celery.signals import after_setup_logger, after_setup_task_logger
from celery.utils.dispatch import Signal
from celery.utils.log import ColorFormatter

from jobledger.logs import running
from jobledger.logs.running import logging_as
from tests.unit.jobledger.logs.builders import RUN

HOSTILE = "\x1b]0;title\x07\n[2026-01-01: ERROR] forged"
FORMAT = "[%(levelname)s] %(message)s"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("celery.test")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    yield logger
    logger.handlers.clear()


def written_by(logger: logging.Logger) -> str:
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    return str(handler.stream.getvalue())


def set_up(logger: logging.Logger, signal: Signal, formatter: logging.Formatter) -> None:
    """What Celery does before it sends the signal."""
    logger.handlers[0].setFormatter(formatter)
    signal.send(sender=None, logger=logger, loglevel=20, logfile=None, format=FORMAT, colorize=False)


@pytest.mark.parametrize(
    ("signal", "formatter"),
    [
        (after_setup_logger, ColorFormatter(FORMAT, use_color=False)),
        (after_setup_task_logger, TaskFormatter(FORMAT, use_color=False)),
    ],
    ids=["worker", "task"],
)
def test_a_message_of_celery_cannot_forge_a_log_entry(
    logger: logging.Logger, signal: Signal, formatter: logging.Formatter
) -> None:
    set_up(logger, signal, formatter)
    try:
        raise TypeError(HOSTILE)
    except TypeError:
        logger.exception("It failed: %s", HOSTILE)
    written = written_by(logger)
    assert "\x1b" not in written
    assert [line for line in written.splitlines() if not line.startswith("  ")] == [
        "[ERROR] It failed: \\x1b]0;title\\x07\\n[2026-01-01: ERROR] forged"
    ]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_if_the_project_uses_the_services_formatter_lines_about_runs_name_them(
    log_format: str, logger: logging.Logger, settings: Any
) -> None:
    own = {"()": "jobledger.logs.formatter", "format": log_format}
    settings.LOGGING = {"version": 1, "formatters": {"ours": own}}
    set_up(logger, after_setup_logger, ColorFormatter(FORMAT, use_color=False))
    with logging_as(RUN, is_process_wide=False):
        logger.warning("late\n")
    written = written_by(logger)
    if log_format == "json":
        fields = json.loads(written)
        assert (fields["message"], fields["job"], fields["attempt"]) == ("late\n", "nightly", 2)
    else:
        assert written == f"[WARNING] late\\n [job=nightly run_id={RUN.run_id} attempt=2]\n"


def test_no_color_is_respected(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    set_up(logger, after_setup_logger, ColorFormatter(FORMAT, use_color=True))
    logger.error("late")
    assert "\x1b" not in written_by(logger)


def test_the_services_line_about_an_end_replaces_celerys() -> None:
    data = {"id": RUN.run_id, "name": "probes.probe"}
    success = logging.INFO, LOG_SUCCESS
    failure = logging.INFO, LOG_FAILURE
    unexpected = logging.ERROR, LOG_FAILURE
    running.note(RUN)
    assert [_passes(*each, data) for each in (success, failure, unexpected)] == [False, False, True]
    assert _passes(*success, {**data, "id": "another"})


def test_celery_does_not_say_that_a_job_is_ignored_that_is_tried_again_or_starts_nothing() -> None:
    data = {"id": RUN.run_id, "name": "probes.probe", "description": "ignored"}
    of_others = {**data, "name": "shop.tasks.resize"}, {**data, "description": "completed before"}
    assert not _passes(logging.INFO, LOG_IGNORED, data)
    assert all(_passes(logging.INFO, LOG_IGNORED, each) for each in of_others)


def test_the_arrival_of_a_jobs_message_is_logged_for_debugging_only() -> None:
    data = {"id": RUN.run_id, "name": "probes.probe"}
    other = {**data, "name": "shop.tasks.resize"}
    strategy = logging.getLogger("celery.worker.strategy")
    levels = logging.INFO, logging.DEBUG
    passing = []
    before = strategy.level
    for level in levels:
        strategy.setLevel(level)
        passing.append([_passes(logging.INFO, LOG_RECEIVED, each, strategy.name) for each in (data, other)])
    strategy.setLevel(before)
    assert passing == [[False, True], [True, True]]


def _passes(level: int, text: str, data: dict[str, str], name: str = "celery.app.trace") -> bool:
    own = logging.getLogger(name)
    return bool(own.filter(own.makeRecord(own.name, level, "", 1, text, (data,), None, extra={"data": data})))


def test_a_projects_own_formatter_stays(logger: logging.Logger) -> None:
    own = logging.Formatter(FORMAT)
    set_up(logger, after_setup_logger, own)
    assert logger.handlers[0].formatter is own
