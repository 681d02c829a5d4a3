"""Text from users, jobs and messages cannot control a terminal or forge a log entry."""

import io
import json
import logging
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger import escapes
from jobledger.escapes import LineFormatter, escaped, escaped_json, escaped_lines, escaped_output, line_logger
from jobledger.logs.formatters import FACTORY, TextFormatter

HOSTILE = "a\x1b]0;title\x07\n2026-01-01 ERROR forged\r\x9b2J\u202eb\x00\u2028\ud800\x7f"
TEXTS = st.text(st.characters(blacklist_categories=[])) | st.text("\x1b[]m0;7\n\t\r\x9b\ud800a")


def controls(text: str) -> str:
    return "".join(each for each in text if unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"})


@given(TEXTS)
def test_an_escaped_text_is_one_printable_line(text: str) -> None:
    shown = escaped(text)
    assert controls(shown) == ""
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(TEXTS)
def test_escaped_lines_keep_only_line_breaks_and_tabs(text: str) -> None:
    shown = escaped_lines(text)
    assert set(controls(shown)) <= {"\n", "\t"}
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize("text", ["Zürich ✓ 東京 😀", "\\x1b", "a\u00a0b"])
def test_a_harmless_text_is_unchanged(text: str) -> None:
    assert escaped(text) == escaped_lines(text) == escaped_output(text) == text


@given(TEXTS)
def test_output_keeps_colours_but_no_other_terminal_controls(text: str) -> None:
    assert escaped_output(f"\x1b[1;31m{escaped(text)}\x1b[0m\r\n") == f"\x1b[1;31m{escaped(text)}\x1b[0m\r\n"
    assert "\x1b]" not in escaped_output(text)
    assert set(controls(escaped_output(text))) <= {"\n", "\t", "\r", "\x1b"}


@given(TEXTS)
def test_escaped_json_means_the_same(text: str) -> None:
    line = escaped_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(line) == {text: [text]}
    assert controls(line) == ""


def test_unsupported_characters_are_escaped() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert escapes.encodable("Zürich", ascii_only) == "Z\\u00fcrich"
    assert escapes.encodable("Zürich", io.StringIO()) == "Zürich"


@given(TEXTS, st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8"]))
def test_json_means_the_same_in_any_encoding(text: str, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    line = escapes.encodable(escaped_json(json.dumps([text], ensure_ascii=False)), stream)
    assert json.loads(line.encode(encoding).decode(encoding)) == [text]


@pytest.mark.parametrize("argument", [HOSTILE, ValueError(HOSTILE)])
def test_a_log_call_writes_one_line(argument: Any, caplog: pytest.LogCaptureFixture) -> None:
    line_logger("jobledger.test").warning("Schedule %s of %d: %s", argument, 3, argument)
    (record,) = caplog.records
    assert controls(record.getMessage()) == ""
    assert "of 3: a\\x1b]0;title\\x07\\n2026" in record.getMessage()
    assert (record.filename, record.funcName) == ("test_escapes.py", "test_a_log_call_writes_one_line")


def test_the_traceback_of_a_log_call_keeps_its_lines(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("a")
    except ValueError:
        line_logger("jobledger.test").exception("It failed")
    assert "Traceback (most recent call last):\n" in caplog.text


def test_a_projects_log_has_one_line_per_message_of_any_library() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    handler.handle(logging.LogRecord("axes", logging.WARNING, "", 1, "failed: %s", (HOSTILE,), None))
    assert written.getvalue().startswith("WARNING axes: failed: a\\x1b]0;")
    assert controls(written.getvalue()) == "\n"


def test_another_handler_formats_a_traceback_in_its_own_way() -> None:
    record = logging.LogRecord(
        "axes", logging.ERROR, "", 1, "failed", (), (ValueError, ValueError("a"), None)
    )
    assert LineFormatter().format(record) == "failed\n  ValueError: a"
    assert logging.Formatter().format(record) == "failed\nValueError: a"
    assert LineFormatter().format(record) == "failed\n  ValueError: a"


def test_a_traceback_in_a_projects_log_cannot_forge_a_log_entry() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    error = ValueError(HOSTILE)
    record = logging.LogRecord("axes", logging.ERROR, "", 1, "failed", (), (ValueError, error, None))
    record.stack_info = f"Stack: {HOSTILE}"
    logging.Formatter().format(record)
    handler.handle(record)
    first, *others = written.getvalue().splitlines()
    assert first == "ERROR axes: failed"
    assert others[0] == "  ValueError: a\\x1b]0;title\\x07"
    assert [line for line in others if not line.startswith("  ")] == []
    assert set(controls(written.getvalue())) == {"\n"}


def test_this_projects_log_is_formatted_like_that(settings: Any) -> None:
    formatters = settings.LOGGING["formatters"].values()
    # What the factory makes escapes JSON, or is one of these.
    assert {each["()"] for each in formatters} == {FACTORY}
    assert issubclass(TextFormatter, LineFormatter)


def test_every_module_of_the_service_logs_like_that() -> None:
    from tests.unit.test_floors import SOURCES, module_of

    used = [module_of(path) for path in SOURCES if "logging.getLogger(__name__" in path.read_text()]
    assert [name for name in used if name.startswith("jobledger.") and name != "jobledger.escapes"] == []
