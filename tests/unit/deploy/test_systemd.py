"""systemd accepts the units, what they start is restricted, and their limits agree with the service's."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobledger import conf
from tests.manual import ROOT, codes
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


def test_a_database_that_is_away_at_boot_keeps_nothing_from_starting_later(tmp_path: Path) -> None:
    setup = unit("setup", tmp_path)
    assert (setup.last("Restart"), setup.last("StartLimitIntervalSec")) == ("on-failure", "0")
    for name in ("web", "worker@", "beat"):
        found = unit(name, tmp_path)
        # systemd does not start again what failed because of a requirement.
        assert not {"Requires", "BindsTo", "Requisite"} & set(found.settings)
        assert "jobledger-setup.service" in found.last("Wants")
        assert "jobledger-setup.service" in " ".join(found.settings["After"])


@pytest.mark.parametrize("name", SERVICES)
def test_servers_on_the_same_machine_are_there_first_and_stay_until_the_end(
    tmp_path: Path, name: str
) -> None:
    earlier = " ".join(unit(name, tmp_path).settings["After"]).split()
    assert {"postgresql.service", "redis-server.service", "valkey-server.service"} <= set(earlier)


def test_a_job_that_runs_out_of_memory_does_not_take_the_worker_with_it(tmp_path: Path) -> None:
    worker = unit("worker@", tmp_path)
    assert (worker.last("OOMPolicy"), worker.last("MemoryMax")) == ("continue", "2G")


def test_the_example_of_the_environment_names_variables_that_exist() -> None:
    described = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    named = re.findall(r"^([A-Z_]+)=", (UNITS / "environment").read_text(), flags=re.MULTILINE)
    assert set(named) <= set(described)


# --- jobledger-manage


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder that takes the place of /, with programs that take that of systemctl and setpriv."""
    etc, programs = tmp_path / "etc" / "jobledger", tmp_path / "bin"
    etc.mkdir(parents=True)
    programs.mkdir()
    (etc / "environment").write_text('TIME_ZONE="Europe/London"\n')
    for name, value in (("secret_key", "x" * 50), ("database_url", "sqlite://:memory:"), ("redis_url", "")):
        (etc / name).write_text(f"{value}\n")
    program(programs / "setpriv", f'echo "$1" "$2" "$3"\nshift 4\nexec {sys.executable} "$@"')
    program(programs / "systemctl", f'cd {tmp_path} && cat "$2" "$2.d"/*.conf 2>/dev/null || true')
    for each in SERVICES:
        text = (UNITS / f"jobledger-{each}.service").read_text().replace("/etc/", f"{tmp_path}/etc/")
        (tmp_path / f"jobledger-{each.replace('@', '@1')}.service").write_text(text)
    return tmp_path


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def drop_in(host: Path, name: str, *lines: str) -> None:
    """What ``systemctl edit`` would store."""
    folder = host / f"jobledger-{name}.service.d"
    folder.mkdir()
    (folder / "override.conf").write_text("\n".join(["[Service]", *lines, ""]))


def managed(host: Path, code: str, **variables: str) -> list[str]:
    """What ``jobledger-manage shell`` prints: the user, and then what the code does."""
    wrapper = host / "jobledger-manage"
    wrapper.write_text((UNITS / "jobledger-manage").read_text().replace(INSTALLED_IN, str(ROOT)))
    environment = {"PATH": f"{host / 'bin'}:{os.environ['PATH']}", **variables}
    command = [sys.executable, "-I", str(wrapper), "shell", "--verbosity", "0", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_wrapper_runs_manage_py_as_the_user_with_settings_and_secrets(host: Path) -> None:
    code = "from django.conf import settings as s; print(len(s.SECRET_KEY), s.TIME_ZONE, s.DATABASES)"
    user, answer = managed(host, code)
    assert user == "--reuid=jobledger --regid=jobledger --init-groups"
    assert answer.startswith("50 Europe/London {'default'")
    assert ":memory:" in answer


def test_the_wrapper_reads_values_that_a_shell_would_not(host: Path) -> None:
    (host / "etc" / "jobledger" / "environment").write_text(
        "OIDC_GROUPS=ops=Job operators,dev=Job viewers\nSERVER_EMAIL=Jobs <jobs@example.com>\n"
    )
    code = "import os; print(os.environ['OIDC_GROUPS']); print(os.environ['SERVER_EMAIL'])"
    assert managed(host, code)[1:] == ["ops=Job operators,dev=Job viewers", "Jobs <jobs@example.com>"]


def test_the_wrapper_knows_the_drop_ins_of_the_unit(host: Path) -> None:
    (host / "etc" / "jobledger" / "email_url").write_text("smtp://user:secret@mail.example.com\n")
    credential = f"LoadCredential=email_url:{host}/etc/jobledger/email_url"
    drop_in(host, "beat", credential, "Environment=EMAIL_URL_FILE=%d/email_url 'MOTTO=a b'")
    code = "import os; print(os.environ.get('EMAIL_URL'), os.environ.get('MOTTO'))"
    assert managed(host, code)[1:] == ["None None"]
    assert managed(host, code, JOBLEDGER_UNIT="jobledger-beat")[1:] == [
        "smtp://user:secret@mail.example.com a b"
    ]


def test_in_a_drop_in_an_empty_value_removes_those_before_it(host: Path) -> None:
    drop_in(host, "worker@1", "EnvironmentFile=", f"EnvironmentFile=-{host}/missing")
    assert managed(host, "import os; print(os.environ.get('TIME_ZONE'))")[1:] == ["None"]


GENERATOR = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")
VARIABLES = r"""# a comment
; another one, which goes on \
IN_THE_COMMENT=x
SPACES=Job operators, and <others>
  INDENTED = yes~
TRAILING=x~~~
ESCAPED_SPACE=x\~~
DOUBLE="a b \" \q \\"
SINGLE='a "b" \n'
APART=it's "quoted" here
BACKSLASH=a\b \"c\"
CONTINUED=one \
  two
MULTILINE="one
two \
three"
not an assignment
JOINED="x"'y' z"w"
HASH=# no comment
SHELL=&| ; * `x` (y)
LAST=end""".replace("~", " ")


def test_the_wrapper_reads_variables_as_systemd_does(tmp_path: Path) -> None:
    systemd_or_skip()
    folder = tmp_path / "environment.d"
    folder.mkdir()
    (folder / "x.conf").write_text(VARIABLES)
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_DIRS": "/nonexistent", "PATH": "/bin"}
    run = subprocess.run([str(GENERATOR)], env=environment, capture_output=True, text=True, check=True)
    variables = runpy.run_path(str(UNITS / "jobledger-manage"))["variables"]
    # The machine may have others.
    assert set(variables(VARIABLES)) == {each for each in as_assigned(run.stdout) if each[0] in VARIABLES}


def as_assigned(text: str) -> set[tuple[str, str]]:
    """The variables that systemd prints, some of them quoted."""
    found = re.findall(r'^(\w+)=(?:"((?:\\.|[^"\\])*)"|(.*))$', text, flags=re.MULTILINE)
    return {(name, re.sub(r"\\(.)", character, quoted) or plain) for name, quoted, plain in found}


def character(escape: re.Match[str]) -> str:
    return {"n": "\n"}.get(escape[1], escape[1])


# --- The how-to

PAGE = ROOT / "docs" / "how-to" / "run-with-systemd.md"
NOT_INSTALLED = shutil.ignore_patterns(".*", "var", "tests", "docs", "benchmarks", "__pycache__")
SECRETS = {"database_url": "sqlite:///{}/db.sqlite3", "redis_url": "redis://localhost:6379/0"}


def commands(heading: str) -> list[str]:
    """The commands in the sentences below a heading: what is more than one word, or begins with systemd."""
    _, _, below = PAGE.read_text().partition(f"\n## {heading}\n")
    found = [" ".join(code.split()) for code in codes(below.partition("\n## ")[0])]
    return [code for code in found if " " in code or code.startswith("systemd-")]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that takes the place of /, with a clone where the page expects it, and without systemd."""
    clone, programs = tmp_path / "opt" / "jobledger", tmp_path / "usr" / "local" / "sbin"
    shutil.copytree(ROOT, clone, ignore=NOT_INSTALLED)
    programs.mkdir(parents=True)
    for file in (clone / "deploy" / "systemd").iterdir():
        file.write_text(moved(file.read_text(), tmp_path))
    program(programs / "make", f'test "$1" = venv && ln -s {sys.prefix} .venv')
    worker = tmp_path / "etc" / "systemd" / "system" / "jobledger-worker@.service"
    program(programs / "systemctl", f'test "$1" != cat || cat {worker}')
    program(programs / "systemd-sysusers", f"grep ^u {tmp_path}/etc/sysusers.d/jobledger.conf")
    program(programs / "setpriv", 'shift 3\nexec "$@"')
    return tmp_path


def moved(text: str, folder: Path) -> str:
    return re.sub(r"(?<![\w.])/(opt|etc|usr)/", rf"{folder}/\1/", text)


def test_the_installation_works_as_printed(machine: Path) -> None:
    environment = {"PATH": f"{machine}/usr/local/sbin:{os.environ['PATH']}"}
    typed = commands("Install")
    for command in typed:
        done = subprocess.run(
            ["bash", "-c", moved(command, machine)],
            cwd=machine / "opt" / "jobledger",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (command, done.returncode, done.stderr) == (command, 0, "")
        fill_in(machine)
    assert typed[-1].startswith("jobledger-manage ")
    assert (machine / "opt" / "jobledger" / "staticfiles" / "jobledger").is_dir()
    for name in ("secret_key", *SECRETS):
        assert (machine / "etc" / "jobledger" / name).stat().st_mode & 0o777 == 0o600


def fill_in(machine: Path) -> None:
    """What the reader writes into the empty files."""
    for name, value in SECRETS.items():
        file = machine / "etc" / "jobledger" / name
        if file.exists():
            file.write_text(value.format(machine))
