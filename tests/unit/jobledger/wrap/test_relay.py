"""The relay: for cron, nothing changes."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.jobledger.wrap.lines import ENVIRONMENT, ROOT, bare, is_alive, wrap_argv, wrapped
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("heeded_signals")

LINES = [
    "echo out; echo err >&2; exit 3",
    "true",
    "printf 'no newline'",
    r"printf '\377\000\n'",
    "nosuchprogram",
    "exit 255",
    "kill -TERM $$",
    "kill -KILL $$",
    "kill -SEGV $$",
    "sh -c 'kill -9 $$'; echo $?",
    "cat",
    "pwd",
    "umask; ulimit -n; nice",
    "sed s/x/y/ | head -1",
    "yes | head -c 300000",
    "(sleep 0.2; echo late) & echo early",
    "grep -E 'Sig(Pnd|Blk|Ign|Cgt)' /proc/self/status",
    "ls -l /proc/self/fd | wc -l",
    "readlink /proc/self/fd/0 | sed 's/[0-9]//g'",
    "ps -o tpgid=,tty= -p $$",
    "echo '5%'",
]


def code_without_reader(argv: list[str]) -> int:
    """The exit code of a program that writes more than is read."""
    with started(argv) as process:
        assert process.stdout
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        return process.wait(timeout=30)


def started(argv: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("line", LINES)
def test_a_line_does_what_it_does_without_it(line: str) -> None:
    stdin = b"x1\nx2\n"
    assert wrapped("--", line, stdin=stdin) == bare(line, stdin=stdin)


@pytest.mark.parametrize("words", [["printf", "%s|", "a b", "$HOME", ""], ["false", "x"], ["env", "-u", "X"]])
def test_several_words_are_a_program_and_its_arguments(words: list[str]) -> None:
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=False)
    assert wrapped("--", *words) == (done.returncode, done.stdout, done.stderr)


def test_the_environment_is_the_one_that_cron_has_made() -> None:
    # In this locale, Python adds a variable to its own.
    environment = {"LC_ALL": "", "LANG": "C", "EMPTY": "", "ODD": "\udcff=x y"}
    line = "env | grep -v ^_= | sort"
    assert wrapped("--", line, env=environment) == bare(line, env=environment)


def test_variables_that_manage_py_adds_do_not_reach_the_line() -> None:
    add = 'import os; os.environ["DJANGO_SETTINGS_MODULE"] = "other"\n'
    argv = wrap_argv("--", "echo $DJANGO_SETTINGS_MODULE; env | grep -c DJANGO")
    argv[2] = add + argv[2]
    done = subprocess.run(argv, env=ENVIRONMENT, cwd=ROOT, capture_output=True, check=False)
    assert done.stdout == b"\n0\n"


def test_stdout_and_stderr_keep_their_order_if_they_are_the_same_pipe() -> None:
    line = "for i in 1 2 3 4 5; do echo $i; echo err $i >&2; done"
    assert wrapped("--", line, stderr=subprocess.STDOUT) == bare(line, stderr=subprocess.STDOUT)


def test_descriptors_that_are_closed_stay_closed() -> None:
    line = "readlink /proc/self/fd/0 || echo no stdin >&2; echo x || echo no stdout >&2"
    closing = 'exec "$@" <&- >&-'
    argvs = (["/bin/sh", "-c", line], wrap_argv("--", line))
    first, second = (
        subprocess.run(
            ["/bin/sh", "-c", closing, "sh", *argv],
            env=ENVIRONMENT,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            check=False,
        )
        for argv in argvs
    )
    assert b"no stdin" in first.stderr
    assert b"no stdout" in first.stderr
    assert (first.returncode, first.stderr) == (second.returncode, second.stderr)


@pytest.mark.parametrize(("word", "code"), [("/no/such", 127), ("/etc/passwd", 126)])
def test_a_program_that_cannot_be_started_is_reported_as_by_a_shell(word: str, code: int) -> None:
    ran = wrapped("--", word, "x")
    assert ran.code == code
    assert ran.stderr.startswith(word.encode())


def test_a_script_without_an_interpreter_runs(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo $1\n")
    script.chmod(0o755)
    assert wrapped("--", str(script), "it runs").stdout == b"it runs\n"


def test_the_shell_is_the_one_that_the_crontab_names() -> None:
    ran = wrapped("--", 'echo "${BASH_VERSION:+bash}"', env={"SHELL": "/bin/bash"})
    assert ran.stdout == b"bash\n"


@pytest.mark.parametrize("arguments", [["--"], [], ["--", " "], ["--nme", "x", "--", "true"], ["--name"]])
def test_a_mistake_is_reported(arguments: list[str]) -> None:
    ran = wrapped(*arguments)
    assert (ran.code, ran.stdout) == (2, b"")
    assert b"usage: manage.py jobledger wrap" in ran.stderr


@pytest.mark.parametrize("is_recorded", [True, False])
def test_what_reads_the_output_may_stop(tmp_path: Path, is_recorded: bool) -> None:
    wrapped_argv = wrap_argv("--", "yes", notes=tmp_path / "notes" if is_recorded else "")
    assert [code_without_reader(argv) for argv in (["/bin/sh", "-c", "yes"], wrapped_argv)] == [141] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    line = f"trap 'echo got it; exit 4' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with started(wrap_argv("--", line)) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == b"got it\n"
        assert process.wait(timeout=30) == 4


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    done = subprocess.run(
        ["/usr/bin/nohup", *wrap_argv("--", "kill -HUP $$; echo still here")],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"still here\n"


def test_a_lock_that_the_line_has_inherited_is_released_with_it(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        argv = wrap_argv("--", "exec 1>&- 2>&-; sleep 0.1", notes=tmp_path / "notes")
        os.set_inheritable(lock.fileno(), True)
        process = subprocess.Popen(argv, env=ENVIRONMENT, cwd=ROOT, pass_fds=[lock.fileno()])
    assert process.wait(timeout=30) == 0
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_recorder_gets_what_the_line_writes_and_how_it_ends(tmp_path: Path) -> None:
    wrapped("--", "echo out; sleep 0.1; echo err >&2; exit 3", notes=tmp_path / "notes")
    *output, ending = (tmp_path / "notes").read_bytes().splitlines()
    assert output == [b"o:out", b"", b"e:err", b""]
    status, ended, cpu, memory = map(float, ending.removeprefix(b"ending:").split())
    assert os.waitstatus_to_exitcode(int(status)) == 3
    assert ended > 0
    assert cpu >= 0
    assert memory > 1_000_000


def test_what_a_process_writes_that_outlives_the_line_is_not_recorded(tmp_path: Path) -> None:
    ran = wrapped("--", "(sleep 0.3; echo late) & echo early", notes=tmp_path / "notes")
    assert ran.stdout == b"early\nlate\n"
    assert b"late" not in (tmp_path / "notes").read_bytes()


def test_the_recorder_outlives_a_relay_that_is_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    argv = wrap_argv("--", "echo $$; exec sleep 60", notes=notes)
    with started(argv) as process:
        assert process.stdout
        line = int(process.stdout.readline())
        process.kill()
        process.wait(timeout=30)
        assert is_alive(line)
        os.kill(line, signal.SIGKILL)
    wait_until(notes.exists, what="the recorder has noticed the end")
    assert notes.read_bytes().endswith(b"\nending:")


def test_a_line_within_another_one_is_recorded_once(tmp_path: Path) -> None:
    inner = [*wrap_argv("--", "echo once; exit 5", notes=tmp_path / "inner")]
    ran = wrapped("--", *inner, notes=tmp_path / "outer")
    assert ran[:2] == (5, b"once\n")
    assert (tmp_path / "outer").exists()
    assert not (tmp_path / "inner").exists()


def test_it_imports_little() -> None:
    modules = "jobledger.management, jobledger.wrap.relay, jobledger.wrap.set_up"
    script = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    slow = {"django", "pathlib", "dataclasses", "uuid", "subprocess", "logging", "socket", "shlex"}
    assert not slow.intersection(done.stdout.split())


def test_a_line_that_cannot_have_a_process_of_its_own_takes_the_place_of_the_relay() -> None:
    refuse = "import os\ndef fork():\n    raise BlockingIOError(11, 'no more processes')\nos.fork = fork\n"
    argv = wrap_argv("--", "trap 'echo got it' TERM; kill -TERM $$; echo $PPID; exit 3")
    argv[2] = refuse + argv[2]
    done = subprocess.run(argv, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"got it\n{os.getpid()}\n", "")
