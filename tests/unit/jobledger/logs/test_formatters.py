"""The format is chosen by where the log goes, unless it is set."""

import logging
import logging.config
import sys
from importlib import import_module
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from jobledger.logs import formatter, service
from jobledger.logs.formatters import TextFormatter, of_project
from jobledger.logs.running import logging_as
from tests.manual import ROOT, blocks_of
from tests.unit.jobledger.logs.builders import RUN, Terminal, as_text, record

IN_CONTAINER = ("container", "KUBERNETES_SERVICE_HOST")


@pytest.fixture(autouse=True)
def outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_given", "worker")
    for name in (*IN_CONTAINER, "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def is_json(**options: Any) -> bool:
    return not isinstance(formatter(**options), TextFormatter)


def test_outside_of_a_container_it_is_text() -> None:
    assert not is_json()


@pytest.mark.parametrize("variable", IN_CONTAINER)
def test_in_a_container_it_is_json_unless_on_a_terminal(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "oci")
    assert is_json()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert not is_json()


def test_what_is_set_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_json(format="json")
    monkeypatch.setenv("container", "oci")
    assert not is_json(format="text")


def test_another_format_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match="'xml'; expected one of auto, json, text"):
        formatter("xml")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jobledger.logs.json_lines", raising=False)
    monkeypatch.delattr(import_module("jobledger.logs"), "json_lines", raising=False)
    monkeypatch.setitem(sys.modules, "pythonjsonlogger.json", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'django-jobledger\[logs\]'"):
        formatter("json")
    assert not is_json(format="text")


def test_on_the_command_line_text_is_as_without_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_given", "command")
    with logging_as(RUN, is_process_wide=False):
        assert as_text("late").endswith(" WARNING shop: late")


def test_text_is_one_line_that_names_its_run() -> None:
    with logging_as(RUN, is_process_wide=False):
        line = as_text("late\n[forged] %s", "\x1b[2J")
    assert line.endswith(
        f" WARNING shop: late\\n[forged] \\x1b[2J [job=nightly run_id={RUN.run_id} attempt=2]"
    )


def test_the_run_is_named_before_the_traceback() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        with logging_as(RUN, is_process_wide=False):
            first, second, *_, last = as_text("it failed", error=True).splitlines()
    assert first.endswith("attempt=2]")
    assert (second, last) == ("  Traceback (most recent call last):", "  ValueError: no")


def is_colored(**options: Any) -> bool:
    return "\x1b[33m" in formatter("text", **options).format(record("late"))


def test_only_on_a_terminal_there_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_colored()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert is_colored()
    assert not is_colored(color=False)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_colored()
    assert not is_colored(color=True)


def test_the_manuals_lines_configure_it(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (
        each for each in blocks_of(ROOT / "docs/how-to/read-the-logs.md") if each.language == "python"
    )
    found: dict[str, Any] = {}
    exec(block.text, found)
    settings.LOGGING = found["LOGGING"]
    assert isinstance(of_project(), TextFormatter)
    before = logging.root.handlers[:], logging.root.level
    try:
        logging.config.dictConfig(settings.LOGGING)
        with logging_as(RUN, is_process_wide=False):
            logging.getLogger("shop").warning("late")
    finally:
        logging.root.handlers[:], logging.root.level = before
    assert f"late [job=nightly run_id={RUN.run_id} attempt=2]" in capsys.readouterr().err


def test_the_projects_own_formatter_is_found_in_its_logging(settings: Any) -> None:
    settings.LOGGING = {"formatters": {"other": {"format": "%(message)s"}}}
    assert of_project() is None
    settings.LOGGING["formatters"]["ours"] = {"()": "jobledger.logs.formatter", "format": "text"}
    assert isinstance(of_project(), TextFormatter)
