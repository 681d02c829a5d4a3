"""How the run of a wrapped line is named, and which jobs continue it."""

import subprocess
import sys
from typing import Any

import pytest

from jobledger.wrap import enclosing, naming
from jobledger.wrap.continuing import continued_run
from jobledger.wrap.line import Line, of_relay, parse

JOBS = [
    ("cd /srv && .venv/bin/python manage.py probe out", "probe", {"words": ["out"]}),
    ("/srv/env/bin/python /srv/manage.py probe --warn 'a b' >> /var/log/x 2>&1", "probe", {"warn": "a b"}),
    ("timeout 60 nice -n 5 ./manage.py hello", "hello", {}),
    ("python manage.py probe '100%'", "probe", {"words": ["100%"]}),
    ("python manage.py probe --no-such-option", "probe", {}),
    ("python manage.py clearsessions", "clearsessions", {}),
    ("python manage.py hello && python -u manage.py probe out", "probe", {"words": ["out"]}),
    ("python manage.py probe out | logger", "probe", {"words": ["out"]}),
    ("python manage.py probe out --no-color --traceback --wait", "probe", {"words": ["out"]}),
    ("python manage.py probe out --settings=other", "probe", {"words": ["out"]}),
    ("python manage.py of_another_project --days 7", "of_another_project", {}),
]
OTHERS = [
    ("/usr/local/bin/backup.sh --all", "backup.sh"),
    ("cd /srv && ./backup.sh | gzip > /tmp/x", "backup.sh"),
    ("TOKEN=x nice timeout 5 curl -fsS https://example.com", "curl"),
    ("python manage.py probe && curl https://example.com", "curl"),
    ("/srv/backup.sh; echo done", "backup.sh"),
    ("(cd /srv; ./backup.sh)", "backup.sh"),
    ("sh -c 'cd /srv && ./backup.sh'", "backup.sh"),
    ("echo", "echo"),
    ("if true; then echo; fi", "crontab"),
    ("'", "crontab"),
    ("$COMMAND --all", "crontab"),
]


def line(*words: str, **values: str) -> Line:
    return Line(words=words, options={f"--{name}": value for name, value in values.items()})


@pytest.mark.parametrize(("text", "name", "options"), JOBS)
def test_a_line_that_ends_in_manage_py_is_named_by_its_command(
    text: str, name: str, options: dict[str, Any]
) -> None:
    named = line(text, name="something else")
    assert (naming.name_of(named), naming.options_of(named)) == (name, options)


@pytest.mark.parametrize(("text", "name"), OTHERS)
def test_any_other_line_is_named_by_its_program(text: str, name: str) -> None:
    assert (naming.name_of(line(text)), naming.options_of(line(text))) == (name, {})


def test_any_other_line_can_be_given_a_name() -> None:
    assert naming.name_of(line("curl https://example.com", name="ping")) == "ping"


def test_several_words_are_read_as_such() -> None:
    assert naming.name_of(line("python", "manage.py", "probe", "a b")) == "probe"
    assert naming.options_of(line("python", "manage.py", "probe", "a b")) == {"words": ["a b"]}


@pytest.mark.parametrize(
    ("arguments", "words", "options"),
    [
        (["--", "a b"], ["a b"], {}),
        (["--name", "x", "--", "a", "--b"], ["a", "--b"], {"--name": "x"}),
        (["--no-color", "--traceback", "--", "a"], ["a"], {}),
        (["--name=x", "a", "--", "b"], ["a", "--", "b"], {"--name": "x"}),
    ],
)
def test_the_line_follows_the_options(
    arguments: list[str], words: list[str], options: dict[str, str]
) -> None:
    assert parse(arguments) == Line(words=words, options=options)
    assert of_relay(["python", "manage.py", "jobledger", "wrap", *arguments]) == parse(arguments)


def test_a_process_that_is_no_relay_has_no_line() -> None:
    assert of_relay(["cron", "-f"]) is None
    assert of_relay(["x", "wrap"]) is None


# Enclosing processes


def test_a_process_finds_the_relay_above_it_whatever_is_between_them() -> None:
    script = (
        "import os, subprocess, sys; from jobledger.wrap import enclosing as e; e.announce_relay();"
        "print(e.identity_of(e.this_process()), flush=True);"
        "inner = 'from jobledger.wrap import enclosing as e; print(e.identity_of(e.relay()))';"
        "subprocess.run(['env', '-i', 'sh', '-c', 'exec \"$@\"; :', 'sh', sys.executable, '-c', inner])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == second


def test_a_process_outside_has_no_relay() -> None:
    assert enclosing.relay() is None
    assert continued_run("probe") is None


@pytest.mark.parametrize(("job", "continues"), [("probe", True), ("talking", False)])
def test_only_the_job_that_the_line_ends_in_continues_its_run(
    monkeypatch: pytest.MonkeyPatch, job: str, continues: bool
) -> None:
    relay = enclosing.Process(pid=4242, started=17)
    monkeypatch.setattr(enclosing, "relay", lambda: relay)
    words = ["manage.py", "jobledger", "wrap", "--", "python manage.py talking; python manage.py probe"]
    monkeypatch.setattr(enclosing, "arguments_of", lambda process: words)
    assert continued_run(job) == (naming.run_id_of(relay) if continues else None)


def test_two_processes_have_different_runs() -> None:
    processes = [enclosing.Process(pid=pid, started=started) for pid in (1, 2) for started in (1, 2)]
    assert len({naming.run_id_of(process) for process in processes}) == 4


def test_the_command_line_of_a_process_is_read_exactly() -> None:
    words = ["sh", "-c", "echo; read x", "a b", ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        assert enclosing.arguments_of(enclosing.Process(pid=process.pid, started=0)) == words
        process.communicate(b"x\n")
    assert enclosing.arguments_of(enclosing.Process(pid=2**22 + 1, started=0)) == []
