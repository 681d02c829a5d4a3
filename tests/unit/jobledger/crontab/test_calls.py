"""The call of manage.py in a line, and what is around it."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.crontab.calls import Call, find_call
from jobledger.crontab.lines import Entry, parse
from jobledger.crontab.wrappers import Lock, NotUnderstoodError, TimeLimit

WORDS = st.sampled_from(
    [
        *(
            "cd",
            "&&",
            "||",
            ";",
            "|",
            "(",
            ")",
            "{",
            "}",
            ">",
            "&>",
            "<",
            "true",
            "exit",
            "sh",
            "-c",
            "--",
            "-n",
        ),
        *(
            "flock",
            "9",
            "9>/l",
            "exec",
            "su",
            "-S",
            "kubectl",
            "timeout",
            "10",
            "env",
            "A=b",
            "$A",
            "$B",
            "$(x)",
            "`x`",
            "manage.py",
            "python",
            "x",
            "-m",
        ),
        *(
            "django",
            "docker",
            "compose",
            "exec",
            "uv",
            "run",
            "'manage.py x'",
            '"$A"',
            "*",
            "~",
            "nice",
            "\\%",
        ),
        *(".", "export", "jobledger", "wrap", "sudo", "-u", "%", "!", "#", "'"),
    ]
)


def call(command: str, *above: str) -> Call:
    """The call in a line with this command, below these lines."""
    entry = parse("\n".join([*above, f"@daily {command}\n"]))[-1]
    assert isinstance(entry, Entry)
    return find_call(entry)


def why_not(command: str, *above: str) -> str:
    with pytest.raises(NotUnderstoodError) as raised:
        call(command, *above)
    return str(raised.value)


@given(words=st.lists(WORDS, min_size=1, max_size=12))
def test_any_line_is_a_call_or_says_why_not(words: list[str]) -> None:
    with suppress(NotUnderstoodError):
        assert call(" ".join(words), "A=sh -c '$A'").command


@pytest.mark.parametrize(
    "command",
    [
        "./manage.py x --a b",
        "/srv/app/manage.py x --a b",
        "/srv/env/bin/python -u -W ignore /srv/app/manage.py x --a b",
        "python3.12 manage.py x --a 'b'",
        "cd /srv/app && python manage.py x --a b",
        "cd /srv/app; python manage.py x --a b",
        "cd /srv/app || exit 1; python manage.py x --a b",
        "cd /srv/app || { echo gone; exit 1; }; python manage.py x --a b",
        "DIR=/srv/app; cd $DIR && python manage.py x --a b",
        "export A=1 && python manage.py x --a b",
        "A=1 python manage.py x --a b",
        "env -i A=1 python manage.py x --a b",
        "nice -10 ionice -c 3 nohup setsid python manage.py x --a b",
        "set -e; umask 027; exec python manage.py x --a b",
        ". env/bin/activate && python manage.py x --a b",
        "(cd /srv/app && python manage.py x --a b) > /dev/null",
        "sh -c 'cd /srv/app && python manage.py x --a b'",
        'bash -lc "cd $HOME/app && python manage.py x --a b"',
        "flock /tmp/lock sh -c 'python manage.py x --a b'",
        "cd /srv/app && uv run --frozen python manage.py x --a b",
        "cd /srv/app && uv run manage.py x --a b",
        "poetry -C /srv/app run python manage.py x --a b",
        "pipenv run python manage.py x --a b",
        "docker compose -f /srv/compose.yml exec -T -u app web python manage.py x --a b",
        "docker-compose run --rm web ./manage.py x --a b",
        "docker exec -i web python manage.py x --a b",
        "sudo -u www-data -E python manage.py x --a b",
        "django-admin x --a b",
        "python -m django x --a b",
        "time -p python manage.py x --a b",
        "/srv/env/bin/python manage.py jobledger wrap -- python manage.py x --a b",
        "python manage.py jobledger wrap --name y -- 'cd /srv && python manage.py x --a b'",
    ],
)
def test_the_call_is_found(command: str) -> None:
    found = call(command)
    assert (found.command, found.arguments) == ("x", ("--a", "b"))


def test_variables_of_the_crontab_are_replaced_as_the_shell_does() -> None:
    above = ("RUN=/srv/env/bin/python -u manage.py", "NAME=two words", "LITERAL='$NAME'")
    assert call("$RUN x $NAME \"$NAME\" '$NAME'", *above).arguments == ("two", "words", "two words", "$NAME")
    assert call("$RUN x $LITERAL", *above).arguments == ("$NAME",)


def test_a_variable_whose_value_has_one_is_warned_of_because_cron_does_not_replace_it() -> None:
    assert call("cd $DIR && ./manage.py x", "DIR=$HOME/app").warnings == (
        "cron does not expand variables in values, and leaves the $ in that of DIR as it is",
    )


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("cd /srv && cd app && ./manage.py x", "/srv/app/manage.py"),
        ("cd /srv && /opt/manage.py x", "/opt/manage.py"),
        ("cd /srv/app/bin && python ../manage.py x", "/srv/app/manage.py"),
        ("cd && ./manage.py x", "~/manage.py"),
    ],
)
def test_the_path_of_manage_py_is_followed(command: str, program: str) -> None:
    assert call(command).program == program


@pytest.mark.parametrize(
    ("duration", "limit"),
    [
        ("90", timedelta(seconds=90)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        (".5m", timedelta(seconds=30)),
        ("5.", timedelta(seconds=5)),
        ("1e3", timedelta(seconds=1000)),
        ("2d", timedelta(days=2)),
        ("1e-9", timedelta(microseconds=1)),
    ],
)
def test_timeout_is_a_time_limit(duration: str, limit: timedelta) -> None:
    assert call(f"timeout {duration} ./manage.py x").time_limit == TimeLimit(length=limit)


@pytest.mark.parametrize("duration", ["0", "0s", "0.0", "inf", "infinity", "999999999d", "1e999", "1001d"])
def test_a_timeout_that_never_ends_it_is_none(duration: str) -> None:
    assert call(f"timeout -k 5 {duration} ./manage.py x").time_limit is None


@pytest.mark.parametrize(
    ("options", "grace"),
    [
        ("-k 5", timedelta(seconds=5)),
        ("--kill-after=1m", timedelta(minutes=1)),
        ("-k 0", None),
        ("-s KILL", timedelta(0)),
        ("-s SIGKILL -k 5", timedelta(0)),
        ("--signal=9", timedelta(0)),
        ("-s sigkill", timedelta(0)),
        ("-s TERM", None),
        ("-s 15 -k 5", timedelta(seconds=5)),
    ],
)
def test_when_timeout_kills_it_is_the_time_to_clean_up(options: str, grace: timedelta | None) -> None:
    found = call(f"timeout {options} 60 ./manage.py x")
    assert found.time_limit == TimeLimit(length=timedelta(minutes=1), grace=grace)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ("-s INT", "`timeout` ends it with the signal INT; here, an exception ends the job"),
        (
            "--preserve-status",
            "`timeout --preserve-status` exits as the job does; here, a run that has timed",
        ),
        ("--foreground", "`timeout --foreground` spares the processes that it has started; here, they end"),
    ],
)
def test_what_else_timeout_does_is_noted(options: str, note: str) -> None:
    (found,) = call(f"timeout {options} 60 ./manage.py x").notes
    assert found.startswith(note)


def test_the_shorter_time_limit_counts() -> None:
    shorter = TimeLimit(length=timedelta(seconds=5), grace=timedelta(seconds=2))
    assert call("timeout -k 2 5 timeout 10 ./manage.py x").time_limit == shorter
    assert call("timeout 10 timeout -k 2 5 ./manage.py x").time_limit == shorter


@pytest.mark.parametrize(
    ("command", "lock"),
    [
        ("(flock -n 9 || exit 1; ./manage.py x) 9>/l", Lock(file="/l", waits=False)),
        ("( flock -n 9 && ./manage.py x ) 9>/l", Lock(file="/l", waits=False)),
        ("{ flock -n 200 || { echo busy; exit 0; }; ./manage.py x; } 200>>/l", Lock(file="/l", waits=False)),
        ("(flock 9; ./manage.py x) 9>/l", Lock(file="/l", waits=True)),
        ("(flock -w 5 9 || exit 1; ./manage.py x) 9</l", Lock(file="/l", waits=True, wait_limit="5")),
        ("exec 9>/l; /usr/bin/flock -n 9 || exit 1; ./manage.py x", Lock(file="/l", waits=False)),
        ("(flock -xn 9 || exit; cd /srv && ./manage.py x) 9>/l", Lock(file="/l", waits=False)),
        ("flock 9 ./manage.py x", Lock(file="9", waits=True)),
    ],
)
def test_a_lock_may_be_taken_by_a_descriptor(command: str, lock: Lock) -> None:
    found = call(command)
    assert (found.lock, found.command, found.output_files) == (lock, "x", ())


@pytest.mark.parametrize(
    "before",
    [
        "timeout 10 sh -c 'cd /x'; ",
        "(cd /x && . env/bin/activate); ",
        "cd /x & ",
        "cd /x && true & ",
        "sh -c 'exec >>/log'; ",
        "(export A=1); ",
        "env A=1 sh -c 'true'; ",
        "A=1 sh -c 'true'; ",
        "nice sh -c true; ",
        "(. ./vars); ",
        "(A=/x); cd $A; ",
        "sudo -u ann sh -c 'true'; ",
    ],
)
def test_what_another_process_does_to_itself_has_no_effect_on_the_call(before: str) -> None:
    found = call(f"{before}./manage.py x", "A=.")
    assert replace(found, used_variables=()) == call("./manage.py x")


def test_a_group_in_braces_is_no_process_of_its_own() -> None:
    found = call("{ cd /srv; export A=1; }; ./manage.py x")
    assert (found.program, found.variables) == ("/srv/manage.py", ("A",))


def test_the_shell_in_front_reads_again_after_a_script() -> None:
    assert not call("sh -c './manage.py x' &> f", "SHELL=/bin/bash").warnings
    assert why_not("sh -c true; ./manage.py x {a,b}", "SHELL=/bin/bash")


@pytest.mark.parametrize(
    "command",
    [
        "(flock -n 9 || exit 1) 9>/l; ./manage.py x",
        "(flock -n 9 || exit 1) 9>/l && ./manage.py x",
        "( exec 9>/l; flock -n 9 || exit 1 ); ./manage.py x",
        "sh -c 'exec 9>/l; flock -n 9 || exit 1'; ./manage.py x",
        "( flock 9 ) 9>/l; ./manage.py x",
        "{ flock 9; } 9>/l; ./manage.py x",
        "exec 9>/l; flock 9 & ./manage.py x",
        "exec 9>/l; flock -n 9 || exit 1 & ./manage.py x",
        "flock -n /l -c true && ./manage.py x",
        "flock /l sh -c 'cd /srv'; ./manage.py x",
    ],
)
def test_a_lock_of_another_process_is_none_of_the_call(command: str) -> None:
    assert "it takes a lock that may have been released" in why_not(command)


@pytest.mark.parametrize(
    "command",
    [
        "exec 9>/l; flock -n 9 || (echo busy; exit 1); ./manage.py x",
        "exec 9>/l; flock -n 9 && cd /srv; ./manage.py x",
        "exec 9>/l; flock -n 9 || echo busy && ./manage.py x",
        "exec 9>/l; flock -n 9 || { echo busy || exit 1; }; ./manage.py x",
        "exec 9>/l; flock -n 9 || { exit 1 & }; ./manage.py x",
        "exec 9>/l; flock -n 9 && true & ./manage.py x",
    ],
)
def test_a_lock_that_the_line_does_not_insist_on_is_reported(command: str) -> None:
    assert why_not(command) == "the command also runs if `flock` does not get the lock"


def test_a_lock_may_be_insisted_on_several_commands_later() -> None:
    lock = Lock(file="/l", waits=False)
    assert call("exec 9>/l; flock -n 9 && cd /srv || exit 1; ./manage.py x").lock == lock
    assert call("exec 9>/l; flock -n 9 || { echo busy; exit 1; } && ./manage.py x").lock == lock
    assert call("exec 9>/l; flock -n 9 || { echo busy && exit 1; }; ./manage.py x").lock == lock


@pytest.mark.parametrize(
    "command",
    [
        "true || ./manage.py x",
        "cd /srv/app || ./manage.py x",
        "cd /srv || true || ./manage.py x",
        "cd /srv || (cd /opt && ./manage.py x)",
        "sh -c 'true || ./manage.py x'",
        "sh -c true || ./manage.py x",
        "(true) || ./manage.py x",
        "exec 9>/l; flock -n 9 || ./manage.py x",
    ],
)
def test_a_call_that_replaces_a_failed_command_stays_in_cron(command: str) -> None:
    assert "only if the command before `||` fails" in why_not(command)


@pytest.mark.parametrize("otherwise", ["true", ":", "exit 1", "echo gone", "(echo gone; exit 1)"])
def test_what_else_may_follow_a_failed_command(otherwise: str) -> None:
    assert call(f"cd /srv || {otherwise}; ./manage.py x").program == "/srv/manage.py"


def test_nothing_runs_after_exec() -> None:
    assert why_not("exec sh -c true; ./manage.py x") == "nothing runs after `exec` with a command"


def test_what_exec_redirects_is_the_output_of_all_that_follows() -> None:
    assert call("exec >>/log 2>&1; ./manage.py x").output_files == ("/log",)


@pytest.mark.parametrize(
    ("command", "user"),
    [
        ("su -c './manage.py x' ann", "ann"),
        ("su ann -c './manage.py x'", "ann"),
        ("su -s /bin/sh ann -c 'cd /srv && ./manage.py x'", "ann"),
        ("su -c './manage.py x'", "root"),
        ("runuser -u ann -- ./manage.py x", "ann"),
        ("runuser ann -c './manage.py x'", "ann"),
    ],
)
def test_the_user_of_su_is_known(command: str, user: str) -> None:
    found = call(command)
    assert (found.command, found.user, found.notes) == ("x", user, ())


@pytest.mark.parametrize("command", ["su - ann -c './manage.py x'", "su -lc './manage.py x' ann"])
def test_a_login_shell_reads_the_profile(command: str) -> None:
    found = call(command)
    note = "its shell reads the profile first: the worker must have the variables that it sets"
    assert (found.user, found.notes) == ("ann", (note,))


def test_env_may_split_its_text_itself() -> None:
    found = call("env -S 'A=b python \"./manage.py\" x --y 1'")
    assert (found.command, found.arguments, found.variables) == ("x", ("--y", "1"), ("A",))


@pytest.mark.parametrize(
    "command",
    [
        "kubectl exec deploy/web -- python manage.py x",
        "kubectl -n prod exec -it web-0 -c app -- python manage.py x",
        "kubectl exec --stdin=true --tty=false deploy/web -- python manage.py x",
        "kubectl exec deploy/web --stdin=true -- python manage.py x",
        "docker compose exec --interactive=false web python manage.py x",
        "oc exec --container=app web-0 -n prod -- python manage.py x",
        "conda run -n app python manage.py x",
        "conda run --no-capture-output -p /opt/env python manage.py x",
        "micromamba run -n app ./manage.py x",
    ],
)
def test_environments_and_pods_are_looked_into(command: str) -> None:
    assert call(command).command == "x"


def test_a_pod_is_noted() -> None:
    note = "it runs in the pod 'deploy/web': the worker must be built from the same image"
    assert call("kubectl exec deploy/web -- ./manage.py x").notes == (note,)


def test_a_time_limit_that_includes_the_wait_for_a_lock_is_noted() -> None:
    note = "`timeout` also counts the wait for the lock; here, the limit counts from the start"
    assert call("timeout 60 flock /l ./manage.py x").notes == (note,)
    assert call("timeout 60 flock -n /l ./manage.py x").notes == ()
    assert call("flock /l timeout 60 ./manage.py x").notes == ()


@pytest.mark.parametrize(
    ("flock", "lock"),
    [
        ("flock /l", Lock(file="/l", waits=True)),
        ("flock -n /l", Lock(file="/l", waits=False)),
        ("flock -xn -E 0 /l", Lock(file="/l", waits=False)),
        ("flock --nonblock /l", Lock(file="/l", waits=False)),
        ("flock -w 0 /l", Lock(file="/l", waits=False)),
        ("flock -w 30 /l", Lock(file="/l", waits=True, wait_limit="30")),
    ],
)
def test_flock_is_a_lock(flock: str, lock: Lock) -> None:
    assert call(f"{flock} ./manage.py x").lock == lock


@pytest.mark.parametrize(
    ("locks", "waits"), [("flock -n /a flock /b", False), ("flock /a flock -n /b", True)]
)
def test_the_outer_of_two_locks_counts_and_the_other_is_noted(locks: str, waits: bool) -> None:
    found = call(f"{locks} ./manage.py x")
    note = "it also takes the lock /b: here, only runs of the same job exclude each other"
    assert (found.lock, found.notes) == (Lock(file="/a", waits=waits), (note,))


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ("-i A=1", "`env -i` starts it without cron's variables; here, it has those of the worker"),
        ("-u A -u B", "`env -u` removes A, B; here, it has the variables of the worker"),
    ],
)
def test_variables_that_env_removes_are_noted(options: str, note: str) -> None:
    assert call(f"env {options} ./manage.py x").notes == (note,)


@pytest.mark.parametrize(
    ("command", "hidden"),
    [
        ("./manage.py x || true", "|| true"),
        ("./manage.py x || :", "|| :"),
        ("./manage.py x; exit 0", "; exit"),
        ("(./manage.py x) || echo failed", "|| echo"),
        ("sh -c './manage.py x || true'", "|| true"),
        ("./manage.py x || exit 1", ""),
        ("./manage.py x; exit", ""),
        ("./manage.py x && true", ""),
    ],
)
def test_what_hides_failures_is_found(command: str, hidden: str) -> None:
    assert call(command).hides_failure == hidden


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/usr/bin/backup", "it does not call manage.py: it runs `/usr/bin/backup`"),
        ("/srv/manage x", "it does not call manage.py: it runs `/srv/manage`"),
        ("run.sh manage.py x", "it runs `run.sh` before manage.py or in its place"),
        ("[ -f /on ] && ./manage.py x", "it runs `[` before manage.py or in its place"),
        ("python manage_prod.py x", "it does not call manage.py: it runs `manage_prod.py`"),
        ("python -c 'x'", "it runs Python's -c"),
        ("python -m app.tool", "it runs Python's app.tool"),
        ("sh /srv/manage.py", "it runs a script: /srv/manage.py"),
        ("./manage.py", "without a command"),
        ("./manage.py --settings=x y", "without a command"),
        ("./manage.py jobledger check", "an operator's command"),
        ("./manage.py jobledger wrap", "it runs no command"),
        ("./manage.py x && ./manage.py y", "it runs another command afterwards: `./manage.py`"),
        ("./manage.py x; rm -rf /", "it runs another command afterwards: `rm`"),
        ("./manage.py x | grep -v ok", "its output is read by another command: `grep`"),
        ("./manage.py x | ts | mail ops", "its output is read by another command: `mail`"),
        ("./manage.py x | (cat; rm /l)", "its output is read by another command: a group of commands"),
        ("yes | ./manage.py x", "it runs `yes` before manage.py or in its place"),
        ("! ./manage.py x", "its exit code is not that of manage.py"),
        ("./manage.py x < file", "it reads its input from file"),
        ("./manage.py x $(date)", "the shell computes an argument: `$(date)`"),
        ("./manage.py x *.csv", "the shell computes an argument: `*.csv`"),
        ("./manage.py x ~/file", "the shell computes an argument: `~/file`"),
        ("./manage.py x $HOME", "the shell computes an argument: `$HOME`"),
        ("./manage.py x $UNKNOWN", "it uses $UNKNOWN, which the crontab does not set"),
        ("./manage.py x %input", "it is given input by cron"),
        ("./manage.py x 'y", "its command cannot be read: a single quote"),
        ("flock -s /l ./manage.py x", "a lock that is shared"),
        ("flock -n 9 || exit 1; ./manage.py x", "locks the descriptor 9, for which the line opens no file"),
        ("(flock -n 9; ./manage.py x) 9>/l", "the command also runs if `flock` does not get the lock"),
        ("(flock -w 5 9; ./manage.py x) 9>/l", "the command also runs if `flock` does not get the lock"),
        ("(flock -n 9 || echo; ./manage.py x) 9>/l", "also runs if `flock` does not get the lock"),
        ("(flock -s 9 && ./manage.py x) 9>/l", "a lock that is shared"),
        ("(flock -u 9 && ./manage.py x) 9>/l", "releases a lock before the line ends"),
        ("flock /l", "`flock` runs no command"),
        ("timeout 5 flock -n 9", "`flock` runs no command"),
        ("su www-data", "`su` runs no command"),
        ("su www-data -c 'cd $0 && ./manage.py x' /srv", "`su` passes words to a shell"),
        ("su --odd -c './manage.py x'", "`su` has an option that is not understood here"),
        ("su ann -c './manage.py x {a,b}'", "the shell computes an argument"),
        ("env -S './manage.py x' y", "`env -S` is understood only with plain words"),
        ("env -S './manage.py $X'", "`env -S` is understood only with plain words"),
        ('env -S "$(x) ./manage.py"', "`env -S` is understood only with plain words"),
        ("kubectl exec pod ./manage.py x", "`kubectl exec` has no `--` before the command"),
        ("kubectl exec pod --odd -- ./manage.py x", "`kubectl exec` has an option that is not understood"),
        ("kubectl get pods", "it runs `kubectl get`"),
        ("conda activate x && ./manage.py x", "it runs `conda activate`"),
        ("timeout soon ./manage.py x", "no duration that is understood: 'soon'"),
        ("timeout", "no duration that is understood"),
        ("timeout -k soon 5 ./manage.py x", "no duration that is understood: 'soon'"),
        ("timeout 5M ./manage.py x", "no duration that is understood: '5M'"),
        ("nice --odd ./manage.py x", "`nice` has an option that is not understood here"),
        ("docker compose up", "it runs `docker compose up`"),
        ("docker", "it runs `docker`"),
        ("docker exec -it", "it runs no command"),
        ("env A=b", "it runs no command"),
        ("A=b", "it runs no command"),
        ("cd /srv", "it runs no command"),
        ("echo " + "x" * 10_000, "it is longer than 10,000 characters"),
    ],
)
def test_what_is_not_understood_is_reported(command: str, why: str) -> None:
    assert why in why_not(command, "PATH=/bin").replace(r"\%", "%")


def test_the_arguments_of_other_commands_are_not_quoted_because_they_may_be_secret() -> None:
    assert "hunter2" not in why_not("./manage.py x && curl -H 'Token: hunter2'")


def test_a_command_line_that_contains_itself_ends() -> None:
    assert why_not("sh -c '$A'", "A=sh -c '$A'")


def test_output_files_are_known_and_dev_null_is_none() -> None:
    assert call("./manage.py x >/dev/null 2>&1").output_files == ()
    assert call("(./manage.py x >> a.log) 2> b.log").output_files == ("a.log", "b.log")


def test_a_pipe_into_a_log_is_left_out_and_noted() -> None:
    found = call("cd /srv && ./manage.py x 2>&1 | ts | /usr/bin/logger -t x")
    assert found.notes == (
        "its output is kept with each run, and no longer sent to `ts`",
        "its output is kept with each run, and no longer sent to `/usr/bin/logger`",
    )


@pytest.mark.parametrize(
    ("above", "command", "is_warned_of"),
    [
        ((), "./manage.py x &> f", True),
        (("SHELL=/bin/bash",), "./manage.py x &> f", False),
        ((), "bash -c './manage.py x &> f'", False),
        (("SHELL=/bin/bash",), "sh -c './manage.py x &> f'", True),
    ],
)
def test_an_operator_of_bash_means_something_else_in_sh(
    above: tuple[str, ...], command: str, is_warned_of: bool
) -> None:
    assert any("&>" in warning for warning in call(command, *above).warnings) == is_warned_of


@pytest.mark.parametrize(
    "argument", ["{k,l}", "--since={2024,2025}-01", "a{,b}", "{1..3}", "{a..e..2}", '{"a",b}']
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
def test_braces_that_the_shell_expands_are_no_argument(argument: str, shell: str) -> None:
    assert "the shell computes an argument" in why_not(f"./manage.py x {argument}", f"SHELL=/bin/{shell}")


@pytest.mark.parametrize("argument", ["{}", "{k}", "{k,l", "k,l}", "{a..b", "{1..b}", "'{k,l}'", "{k\\,l}"])
def test_other_braces_are_taken_literally(argument: str) -> None:
    found = call(f"./manage.py x {argument}", "SHELL=/bin/bash")
    assert found.arguments == (argument.replace("'", "").replace("\\", ""),)


def test_sh_takes_all_braces_literally_which_is_warned_of() -> None:
    found = call("./manage.py x {k,l}")
    assert found.arguments == ("{k,l}",)
    assert found.warnings == (
        "in `sh`, braces as in `{a,b}` are not expanded, and are passed on as they are",
    )
    assert call("bash -c \"sh -c './manage.py x {k,l}'\"").arguments == ("{k,l}",)
    assert why_not("bash -c './manage.py x {k,l}'")


@pytest.mark.parametrize(
    "command",
    [
        "DAY=$(date); ./manage.py x $DAY",
        'DAY=`date`; ./manage.py x --day="$DAY"',
        "export DAY=$(date) && ./manage.py x $DAY",
        "FILES='*.csv'; ./manage.py x $FILES",
        "./manage.py x $ALL",
    ],
)
def test_a_variable_that_the_shell_computes_is_no_argument(command: str) -> None:
    assert "the shell computes an argument" in why_not(command, "ALL=*.csv")


def test_a_pattern_in_a_quoted_variable_is_taken_literally() -> None:
    assert call('./manage.py x "$ALL"', "ALL=*.csv").arguments == ("*.csv",)


@pytest.mark.parametrize(
    "command",
    [
        "DJANGO_SETTINGS_MODULE=other.settings A=$B ./manage.py x",
        "export A DJANGO_SETTINGS_MODULE=other.settings; ./manage.py x",
        "DJANGO_SETTINGS_MODULE=other.settings; export A DJANGO_SETTINGS_MODULE; ./manage.py x",
        "env A=1 DJANGO_SETTINGS_MODULE=$NAME.settings ./manage.py x",
        "sudo A=1 DJANGO_SETTINGS_MODULE=other.settings ./manage.py x",
        "docker exec -e A=1 -e DJANGO_SETTINGS_MODULE=other.settings web ./manage.py x",
        "env DJANGO_SETTINGS_MODULE=first.settings A=1 DJANGO_SETTINGS_MODULE=other.settings ./manage.py x",
    ],
)
def test_the_settings_that_the_line_sets_are_no_ordinary_variable(command: str) -> None:
    found = call(command, "NAME=other")
    assert (found.settings_module, found.variables) == ("other.settings", ("A",))


@pytest.mark.parametrize("program", ["true", "/bin/true", "/usr/bin/true"])
def test_a_program_that_does_nothing_may_be_written_with_its_path(program: str) -> None:
    assert call(f"{program}; ./manage.py x").command == "x"
    assert call(f"./manage.py x || {program}").hides_failure == "|| true"
    assert call(f"./manage.py x; {program}").hides_failure == "; true"
    assert not call(f"./manage.py x && {program}").hides_failure


def test_a_script_that_is_only_named_like_such_a_program_is_another_command() -> None:
    assert "it runs another command afterwards: `./true`" in why_not("./manage.py x || ./true")


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (". ./vars && ./manage.py x", "it reads ./vars first"),
        ("uv run --env-file .env manage.py x", "it reads .env first"),
        ("docker compose exec --env-file=.env web ./manage.py x", "it reads .env first"),
        ("pipenv run ./manage.py x", "it reads .env first, if there is one"),
        ("bash -lc './manage.py x'", "its shell reads the profile first"),
        ("bash --login -c './manage.py x'", "its shell reads the profile first"),
        ("bash -ic './manage.py x'", "its shell reads the files for interactive use first"),
        ("sudo -i ./manage.py x", "its shell reads the profile first"),
    ],
)
def test_it_is_noted_where_variables_come_from(command: str, what: str) -> None:
    assert call(command).notes[-1] == f"{what}: the worker must have the variables that it sets"
