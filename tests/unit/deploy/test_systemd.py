"""systemd accepts the units, what they start is restricted, and their limits agree with the service's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobledger import conf
from tests.manual import ROOT
from tests.requirements import systemd_or_skip
from tests.systemd import INSTALLED_IN, SERVICES, UNITS, unit

# systemd's own scale: 0 is the least exposed, 10 the most. Version 252 says 1.5.
MAX_EXPOSURE = 2
FILES = [f"jobledger-{name}.service".replace("@", "@1") for name in SERVICES]
# What does not depend on what a service does.
COMMON = ("User", "Group", "EnvironmentFile", "LoadCredential", "StateDirectory", "WorkingDirectory")
SECONDS = {"min": 60, "": 1}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as if this clone was where they expect it."""
    for file in UNITS.glob("*.*"):
        (tmp_path / file.name).write_text(file.read_text().replace(INSTALLED_IN, str(ROOT)))
    return tmp_path


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    systemd_or_skip()
    return subprocess.run(
        ["systemd-analyze", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def seconds(text: str) -> int:
    number, unit_of_time = re.findall(r"^(\d+)(\w*)$", text)[0]
    return int(number) * SECONDS[unit_of_time]


def test_systemd_finds_nothing_wrong(installed: Path) -> None:
    verified = analyze(installed, "verify", "jobledger.target", *FILES)
    # It succeeds in spite of warnings, and may have some about units of this machine.
    assert [line for line in verified.stderr.splitlines() if "jobledger" in line] == []
    assert verified.returncode == 0


@pytest.mark.parametrize("file", FILES)
def test_a_process_can_do_little_harm(installed: Path, file: str) -> None:
    threshold = f"--threshold={MAX_EXPOSURE * 10}"
    rated = analyze(installed, "security", "--offline=true", "--no-pager", threshold, f"./{file}")
    assert rated.returncode == 0, rated.stdout


def test_all_services_are_restricted_alike(tmp_path: Path) -> None:
    names = {name for each in SERVICES for name in unit(each, tmp_path).settings}
    same = {name for name in names if name.startswith(("Protect", "Private", "Restrict", "SystemCall"))}
    for name in (*COMMON, *same):
        values = [unit(each, tmp_path).settings[name] for each in SERVICES]
        assert values == [values[0]] * len(SERVICES), name


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_the_same_is_started_as_in_a_container(tmp_path: Path, name: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    image = re.findall(r"CMD (\[.*\])", (ROOT / "Dockerfile").read_text().replace("\\\n", ""))[-1]
    started = unit("worker@" if name == "worker" else name, tmp_path).command()
    assert started[0].endswith(f"/{'gunicorn' if name == 'web' else 'celery'}")
    own = {"--hostname", "1@here", "--pidfile=", "127.0.0.1:8000"}
    expected = compose[name].get("command") or yaml.safe_load(image)
    assert [word for word in started[1:] if word not in own] == [
        word for word in expected[1:] if word != "0.0.0.0:8000"
    ]


def test_a_stopping_worker_has_a_minute_after_it_has_cancelled_its_runs(tmp_path: Path) -> None:
    worker = unit("worker@", tmp_path)
    assert worker.last("KillMode") == "mixed"
    assert seconds(worker.last("TimeoutStopSec")) == conf.Settings().SHUTDOWN_GRACE_SECONDS + 60
    example = (UNITS / "environment").read_text()
    assert f"SHUTDOWN_GRACE_SECONDS={conf.Settings().SHUTDOWN_GRACE_SECONDS}\n" in example


def test_a_job_that_runs_out_of_memory_does_not_take_the_worker_with_it(tmp_path: Path) -> None:
    worker = unit("worker@", tmp_path)
    assert (worker.last("OOMPolicy"), worker.last("MemoryMax")) == ("continue", "2G")


def test_the_example_of_the_environment_names_variables_that_exist() -> None:
    described = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    named = re.findall(r"^([A-Z_]+)=", (UNITS / "environment").read_text(), flags=re.MULTILINE)
    assert set(named) <= set(described)


def test_the_wrapper_runs_manage_py_as_the_user_with_settings_and_secrets(tmp_path: Path) -> None:
    etc, setpriv, wrapper = tmp_path / "etc", tmp_path / "setpriv", tmp_path / "jobledger-manage"
    etc.mkdir()
    (etc / "environment").write_text('TIME_ZONE="Europe/London"\n')
    for name, value in (("secret_key", "x" * 50), ("database_url", "sqlite://:memory:"), ("redis_url", "")):
        (etc / name).write_text(value)
    setpriv.write_text(f'#!/bin/sh\necho "$1" "$2" "$3"\nshift 4\nexec {sys.executable} "$@"\n')
    wrapper.write_text((UNITS / "jobledger-manage").read_text().replace(INSTALLED_IN, str(ROOT)))
    for file in setpriv, wrapper:
        file.chmod(0o755)
    code = "from django.conf import settings as s; print(len(s.SECRET_KEY), s.TIME_ZONE, s.DATABASES)"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOBLEDGER_ETC": str(etc)}
    command = [str(wrapper), "shell", "--verbosity", "0", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    user, answer = done.stdout.splitlines()
    assert user == "--reuid=jobledger --regid=jobledger --init-groups"
    assert answer.startswith("50 Europe/London {'default'")
    assert ":memory:" in answer
