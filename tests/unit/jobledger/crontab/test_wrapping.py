"""``jobledger wrap`` in front of the lines of a crontab."""

import shlex
import subprocess
from itertools import zip_longest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobledger.crontab.lines import Entry, encoded, parse
from jobledger.crontab.wrapping import MAX_COMMAND_BYTES, unwrap, wrap

LAUNCHER = "/srv/env/bin/python /srv/manage.py jobledger wrap --"
COMMANDS = st.text(
    st.sampled_from("ab\t '\"\\%$`;&|<>(){}#*~!=\u00e9\udcff\x0b\u2028\r-"), min_size=1, max_size=30
).filter(lambda text: text.strip(" \t") == text and not text.startswith("="))
LINES = st.one_of(
    st.builds("{} {}".format, st.sampled_from(["* * * * *", "@daily", "\t1 2 3 4 5"]), COMMANDS),
    st.sampled_from(["", "  ", "# * * * * * x", "A=b", "SHELL = /bin/bash", "MAILTO=''", "nonsense"]),
)
CRONTABS = st.builds(
    "".join, st.lists(st.builds("{}{}".format, LINES, st.sampled_from(["\n", "\r\n"])), max_size=8)
)


def entries(text: str) -> list[Entry]:
    return [line for line in parse(text) if isinstance(line, Entry)]


def test_commands_are_wrapped_and_everything_else_is_left() -> None:
    text = "# Nightly\nMAILTO=ops\n\n0 3 * * *\tcd /srv && ./manage.py hello  # comment\n@reboot /srv/x"
    assert wrap(text, LAUNCHER).text == (
        "# Nightly\nMAILTO=ops\n\n"
        f"0 3 * * *\t{LAUNCHER} 'cd /srv && ./manage.py hello  # comment'\n@reboot {LAUNCHER} '/srv/x'"
    )


def test_a_user_column_is_kept() -> None:
    wrapped = wrap("0 3 * * * www-data  ./x.sh\n", LAUNCHER, is_system=True)
    assert wrapped.text == f"0 3 * * * www-data  {LAUNCHER} './x.sh'\n"
    assert unwrap(wrapped.text, is_system=True).text == "0 3 * * * www-data  ./x.sh\n"


@given(CRONTABS)
@example("* * * * * it's \\'%in'put\n")
@example(r"* * * * * a\\%b\%c\\\%d'" + "\n")
def test_cron_and_the_shell_read_the_same_command_as_before(text: str) -> None:
    for before, after in zip_longest(entries(text), entries(wrap(text, LAUNCHER).text)):
        assert (before.time, before.stdin, before.variables) == (after.time, after.stdin, after.variables)
        assert shlex.split(after.shell_command) == [*shlex.split(LAUNCHER), before.shell_command]


@given(CRONTABS)
def test_unwrapping_gives_the_original(text: str) -> None:
    wrapped = wrap(text, LAUNCHER)
    assert unwrap(wrapped.text).text == text
    assert len(unwrap(wrapped.text).changed) == len(wrapped.changed) == len(entries(text))


@given(CRONTABS)
def test_wrapping_twice_changes_nothing(text: str) -> None:
    once = wrap(text, LAUNCHER)
    twice = wrap(once.text, "another jobledger wrap --")
    assert (twice.text, twice.changed) == (once.text, [])


@pytest.mark.parametrize(
    "command", ["echo 'a b' \"c's\" \\' '' \"\\$HOME\"", "printf '%s|' a\\ b 'it'\\''s'"]
)
def test_a_shell_runs_it_as_before(command: str) -> None:
    ((wrapped,),) = [entries(wrap(f"* * * * * {command.replace('%', chr(92) + '%')}\n", "sh -c").text)]
    results = [
        subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
        for line in (command, wrapped.shell_command)
    ]
    assert results[0] == results[1]


def test_a_percent_sign_in_the_launcher_is_escaped() -> None:
    wrapped = wrap("* * * * * x%in\n", "/srv/100%/manage.py jobledger wrap --").text
    (entry,) = entries(wrapped)
    assert (entry.shell_command, entry.stdin) == ("/srv/100%/manage.py jobledger wrap -- 'x'", "in")


@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/bin/csh", "/usr/bin/python3"])
def test_a_line_for_another_kind_of_shell_is_left(shell: str) -> None:
    text = f"* * * * * a\nSHELL={shell}\n* * * * * b\nSHELL=/bin/bash\n* * * * * c\n"
    wrapped = wrap(text, LAUNCHER)
    assert [entry.number for entry in wrapped.changed] == [1, 5]
    assert [left.number for left in wrapped.left] == [3]
    assert shell in wrapped.left[0].reason


def test_a_line_that_would_be_too_long_for_cron_is_left() -> None:
    room = MAX_COMMAND_BYTES - len(f"{LAUNCHER} ''")
    for length, is_wrapped in ((room, True), (room + 1, False)):
        wrapped = wrap(f"* * * * * {'x' * length}\n", LAUNCHER)
        assert bool(wrapped.changed) == is_wrapped
        assert max(len(encoded(entry.command)) for entry in entries(wrapped.text)) <= MAX_COMMAND_BYTES


@pytest.mark.parametrize(
    ("by_hand", "without"),
    [
        ("manage.py jobledger wrap -- backup --all%in", "backup --all%in"),
        ("jobledger wrap --name x -- 'a b'", "a b"),
    ],
)
def test_simple_lines_that_were_wrapped_by_hand_are_unwrapped(by_hand: str, without: str) -> None:
    assert unwrap(f"@daily {by_hand}\n").text == f"@daily {without}\n"


@pytest.mark.parametrize("command", ['jobledger wrap -- "a b"', "jobledger wrap -- a 'b c'", "backup"])
def test_any_other_line_is_left_when_unwrapping(command: str) -> None:
    done = unwrap(f"@daily {command}\n")
    assert (done.text, done.changed) == (f"@daily {command}\n", [])
    assert len(done.left) == 1
