"""A process knows which of the service's it is by its command line."""

import sys

import pytest

from jobledger.logs import service


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/venv/bin/gunicorn", "proj.wsgi"], "web"),
        (["manage.py", "runserver"], "web"),
        (["/venv/bin/celery", "-A", "proj", "--quiet", "worker", "--loglevel", "INFO"], "worker"),
        (["/venv/lib/celery/__main__.py", "-A", "proj", "beat"], "beat"),
        (["/venv/bin/celery", "-A", "proj", "call", "probes.probe"], "command"),
        (["manage.py", "cleanup_tokens"], "command"),
        ([""], "command"),
        ([], "command"),
    ],
)
def test_a_command_line_says_what_a_process_is(
    argv: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert service.service() == name


def test_a_process_without_one_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_given", "")
    monkeypatch.setattr(sys, "argv", ["-c"])
    service.name_service("worker")
    assert service.service() == "worker"
