"""Lines that have a user column where they should not, and the other way round."""

import pwd
import shutil

import pytest

from jobledger.crontab.lines import parse
from jobledger.crontab.user_column import problems_of

CALL = "/srv/app/manage.py x"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with these users and programs."""

    def getpwnam(name: str) -> None:
        if name not in ("backup", "celery", "deploy", "root"):
            raise KeyError(name)

    def which(name: str) -> str | None:
        return name if name in ("curl", "celery", "locked", "/usr/bin/rotate") else None

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(shutil, "which", which)


def numbers(*commands: str, is_system: bool = False) -> list[int]:
    """The lines with a problem, of a crontab with these commands."""
    text = "".join(f"0 1 * * * {command}\n" for command in commands)
    return list(problems_of(parse(text, is_system=is_system), is_system=is_system))


@pytest.mark.parametrize(
    "command",
    [
        f"www-data {CALL}",
        "root anything",
        f"deploy  cd /srv && {CALL}",
        "deploy /usr/bin/rotate",
        f"deploy\tpython {CALL} $(date)",
        f"celery {CALL}",
        "deploy python manage.py jobledger wrap -- 'a'",
    ],
)
def test_a_user_of_this_machine_before_a_command_is_a_user_column(command: str) -> None:
    assert numbers("/usr/bin/rotate", command) == [2]


@pytest.mark.parametrize(
    "command",
    [
        f"run-one {CALL}",
        f"locked {CALL}",
        f"locked python manage.py jobledger wrap -- '{CALL}'",
        f"python3.12 {CALL}",
        f"cd /srv && {CALL}",
        "backup /var/lib",
        "backup",
        "celery -A proj purge",
        "curl https://example.com",
    ],
)
def test_any_other_program_is_none(command: str) -> None:
    assert numbers(CALL, command) == []


def test_a_user_of_another_machine_is_one_if_all_lines_begin_like_that() -> None:
    assert numbers(f"app {CALL}", f"other cd /srv; {CALL}") == [1, 2]
    assert numbers(f"app {CALL}", "@x") == []


def test_a_program_of_this_machine_is_none_even_if_all_lines_begin_with_it() -> None:
    assert numbers(f"locked {CALL}", f"locked {CALL}") == []


@pytest.mark.parametrize(
    "command", [CALL, f"cd /srv && {CALL}", f"A=b {CALL}", "curl https://example.com", "[ a ]"]
)
def test_a_command_in_the_place_of_the_user_is_a_problem(command: str) -> None:
    assert numbers("www-data x", command, is_system=True) == [2]


@pytest.mark.parametrize(
    "command", [f"app {CALL}", "celery x", f"curl {CALL}", "curl A=b x", "backup tar -c /"]
)
def test_any_name_before_a_command_may_be_a_user(command: str) -> None:
    assert numbers(command, is_system=True) == []
