"""``import_crontab --wrap`` and ``--unwrap`` print a crontab, and import nothing."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask

from jobledger.management import wrapped_crontabs
from proj.state import BASE_DIR

MANAGE = str(BASE_DIR / "manage.py")
LAUNCHER = f"{sys.executable} {MANAGE} jobledger wrap --settings tests.settings --"
TEXT = "# Nightly\n0 3 * * * cd /srv && ./manage.py probe a\n5 * * * * curl x\n6 * * * * curl y\n"


@pytest.fixture(autouse=True)
def called_by_manage_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [MANAGE])


def printed(tmp_path: Path, text: str, *options: str) -> tuple[str, str]:
    """What it prints on stdout and on stderr."""
    (tmp_path / "crontab").write_text(text)
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command(
        "jobledger", "import_crontab", str(tmp_path / "crontab"), *options, stdout=stdout, stderr=stderr
    )
    return stdout.getvalue(), stderr.getvalue()


@pytest.mark.django_db
def test_the_wrapped_crontab_is_printed(tmp_path: Path) -> None:
    stdout, stderr = printed(tmp_path, TEXT, "--wrap")
    assert stdout.splitlines()[:2] == [
        "# Nightly",
        f"0 3 * * * {LAUNCHER} 'cd /srv && ./manage.py probe a'",
    ]
    assert "lines 3, 4 are recorded as 'curl': `wrap --name NAME` tells them apart" in stderr
    assert "3 lines are wrapped." in stderr
    assert not PeriodicTask.objects.filter(task="probes.probe").exists()


def test_unwrapping_prints_the_original(tmp_path: Path) -> None:
    wrapped, _ = printed(tmp_path, TEXT, "--wrap")
    assert printed(tmp_path, wrapped, "--unwrap")[0] == TEXT


def test_wrapping_again_changes_nothing_and_says_so(tmp_path: Path) -> None:
    wrapped, _ = printed(tmp_path, TEXT, "--wrap")
    again, stderr = printed(tmp_path, wrapped, "--wrap")
    assert again == wrapped
    assert "line 2 is left as it is: it is wrapped already" in stderr
    assert "0 lines are wrapped." in stderr


def test_the_settings_of_manage_py_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "proj.settings")
    assert wrapped_crontabs.launcher() == f"{sys.executable} {MANAGE} jobledger wrap --"


def test_a_path_with_blanks_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my project").mkdir()
    (tmp_path / "my project" / "manage.py").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "my project" / "manage.py")])
    assert f"'{tmp_path}/my project/manage.py'" in wrapped_crontabs.launcher()


def test_it_has_to_be_called_by_manage_py(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/jobledger"])
    with pytest.raises(CommandError, match=r"manage\.py"):
        printed(tmp_path, TEXT, "--wrap")


def test_bytes_that_are_no_text_are_kept() -> None:
    content = b"# caf\xe9\r\n@daily echo \xff\r\n"
    wrap, unwrap = (
        [sys.executable, MANAGE, "jobledger", "import_crontab", "-", each] for each in ("--wrap", "--unwrap")
    )
    wrapped = subprocess.run(wrap, input=content, capture_output=True, check=True).stdout
    assert b"'echo \xff'\r\n" in wrapped
    assert subprocess.run(unwrap, input=wrapped, capture_output=True, check=True).stdout == content


@pytest.mark.parametrize(
    ("line", "options", "error"),
    [
        ("0 1 * * * www-data /srv/app/manage.py probe a", [], "it seems to have a user column, 'www-data'"),
        ("0 1 * * * root /usr/local/bin/rotate", [], "it seems to have a user column, 'root'"),
        (
            "0 1 * * * deploy /srv/manage.py jobledger wrap -- 'x'",
            [],
            "it seems to have a user column, 'deploy'",
        ),
        ("0 1 * * * /srv/app/manage.py probe a", ["--system"], "'/srv/app/manage.py' is not a user"),
        ("0 1 * * * cd /srv/app && ./manage.py probe", ["--system"], "'cd' is not a user"),
        ("0 1 * * * python /srv/manage.py jobledger wrap -- 'x'", ["--system"], "'python' is not a user"),
    ],
)
@pytest.mark.parametrize("option", ["--wrap", "--unwrap"])
def test_with_a_wrong_user_column_nothing_is_printed(
    tmp_path: Path, line: str, options: list[str], error: str, option: str
) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    (tmp_path / "crontab").write_text(f"{line}\n")
    with pytest.raises(CommandError, match=r"Nothing is printed\. Correct these lines: 1"):
        call_command(
            *("jobledger", "import_crontab", str(tmp_path / "crontab"), option, *options),
            stdout=stdout,
            stderr=stderr,
        )
    assert stdout.getvalue() == ""
    assert f"line 1: {error}" in stderr.getvalue()


def test_what_cron_does_not_accept_is_said(tmp_path: Path) -> None:
    text = "0 25 * * * x\n@sometimes x --token=hunter22\n@reboot x\n0 1 * * * y"
    stdout, stderr = printed(tmp_path, text, "--wrap")
    assert stdout.startswith(f"0 25 * * * {LAUNCHER} 'x'\n@sometimes x")
    assert "line 1: hour: 25 is not between 0 and 23" in stderr
    assert "line 2: '@sometimes' is unknown" in stderr
    assert "line 3" not in stderr
    assert "Line 4 does not end with a newline: Debian's cron ignores the whole crontab" in stderr
