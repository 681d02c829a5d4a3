"""What operators print holds no control characters, whatever was stored, and no text ends in a traceback."""

import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobledger.alerts.sending import message
from jobledger.management import subcommands
from jobledger.models import (
    Alert,
    DeadLetter,
    Pause,
    Reason,
    Run,
    RunAttempt,
    RunOutput,
    Status,
    Trigger,
)
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.admin.schedules.edit_forms import create_hourly

pytestmark = pytest.mark.django_db

HOSTILE = "a\x1b]0;title\x07\nFORGED line\r\x9b2J\u202eb\u2028\x7f"
# PostgreSQL rejects half of a character, so it cannot be stored there.
_HALF = {"half": "\ud800"} if connection.vendor == "sqlite" else {}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.TextIOWrapper):
    """Takes what UTF-8 has, and nothing else."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        self.flush()
        written = self.buffer.getvalue()  # type: ignore[attr-defined]  # it is a BytesIO
        return str(written, "utf-8")


def printed(*line: str, is_terminal: bool = False) -> str:
    stream = Terminal(is_terminal=is_terminal)
    try:
        call_command("jobledger", *line, stdout=stream, stderr=stream)
    except (CommandError, SystemExit) as error:
        print(error, file=stream)
    return stream.text()


def controls(text: str) -> set[str]:
    kinds = {"Cc", "Cs", "Zl", "Zp"}
    return {each for each in COLOUR.sub("", text) if unicodedata.category(each) in kinds} - {"\n", "\t"}


@pytest.fixture
def run() -> Run:
    schedule = create_hourly(name=HOSTILE)
    Pause.objects.create(schedule=schedule, reason=HOSTILE, username=HOSTILE)
    DeadLetter.objects.create(
        received_at=NOON, reason=HOSTILE, queue=HOSTILE, task=HOSTILE, worker=HOSTILE, size=7, content=HOSTILE
    )
    run = create_run(
        job=HOSTILE[:100],
        status=Status.FAILED,
        error=HOSTILE,
        traceback=HOSTILE,
        username=HOSTILE[:100],
        schedule=schedule,
        schedule_name=schedule.name,
        options={HOSTILE: HOSTILE, **_HALF},
        args=[HOSTILE],
        trigger=Trigger.SCHEDULE,
        worker=HOSTILE,
        exit_signal=HOSTILE[:16],
        left_behind=[{"pid": 7, "name": HOSTILE}, {"pid": None, "name": HOSTILE}],
        attempt=2,
    )
    RunAttempt.objects.create(
        run=run,
        attempt=1,
        status=Status.LOST,
        reason=Reason.LOST_PROCESS,
        reason_details={"worker": HOSTILE},
        finished_at=NOON,
        error=HOSTILE,
        traceback=HOSTILE,
        worker=HOSTILE,
        exit_signal=HOSTILE[:16],
    )
    return run


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_no_subcommand_prints_what_controls_a_terminal(run: Run, is_terminal: bool) -> None:
    RunOutput.objects.create(run=run, attempt=1, number=1, stream="stdout", text=HOSTILE, written_at=NOON)
    for line in [
        ("runs",),
        ("runs", "--json"),
        ("runs", "--job", HOSTILE[:50]),
        ("show", str(run.pk)),
        ("show", str(run.pk), "--json"),
        ("show", str(run.pk), "--follow"),
        ("next",),
        ("next", "--json"),
        ("next", HOSTILE),
        ("next", HOSTILE[:-1]),
        ("simulate", "--from", "2026-01-01", "--to", "2026-01-02"),
        ("pause", HOSTILE),
        ("resume",),
        ("resume", HOSTILE),
        ("cancel", str(run.pk)),
        ("retry", str(run.pk)),
        ("setup",),
        ("dead_letters",),
        ("dead_letters", "--json"),
        ("call", HOSTILE),
        ("call", "--queue", HOSTILE, "probe"),
        ("call", "probe", "--level", HOSTILE),
        ("call", "--json", "probe", "--warn", HOSTILE),
        ("call", "probe", "--help"),
    ]:
        text = printed(*line, is_terminal=is_terminal)
        assert text, line
        # The output of a job may have a progress bar.
        assert controls(text) - ({"\r"} if line[0] == "show" else set()) == set(), line
        assert not re.search("^FORGED", text, re.MULTILINE) or line[0] == "show", line


@pytest.mark.parametrize("count", [1, 2], ids=["one", "a summary"])
def test_no_alert_contains_what_controls_a_terminal(run: Run, count: int) -> None:
    RunOutput.objects.create(run=run, attempt=2, number=1, stream="stdout", text=HOSTILE, written_at=NOON)
    details = {"kind": "failed", "time": NOON, "job": HOSTILE, "schedule_name": HOSTILE, "rule_name": HOSTILE}
    sent = message.compose([Alert(run=run, **details) for _ in range(count)])
    assert "\n" not in sent.subject
    assert controls(sent.subject + sent.body) == set()
    assert not re.search("^FORGED", sent.body, re.MULTILINE)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL stores no half of a character")
def test_half_of_a_character_is_shown_as_an_escape(run: Run) -> None:
    assert "\\ud800" in printed("show", str(run.pk))
    assert json.loads(printed("show", str(run.pk), "--json"))["options"]["half"] == "\ud800"


@pytest.mark.parametrize("name", ["jobledger_run_change", "jobledger_run_live"])
def test_half_of_a_character_is_no_error_on_a_page(admin_client: Client, run: Run, name: str) -> None:
    assert admin_client.get(reverse(f"admin:{name}", args=[run.pk])).status_code in (200, 286)


def test_no_subcommand_writes_past_the_escapes() -> None:
    modules = [path for folder in subcommands.__path__ for path in Path(folder).glob("*/*.py")]
    assert [path.name for path in modules if re.search(r"std(out|err)\.write", path.read_text())] == []
