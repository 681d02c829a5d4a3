"""Lines of a crontab: as cron reads them, and byte for byte as they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.crontab.lines import Comment, Entry, Invalid, Line, Variable, decoded, encoded, parse

CRONTAB_CHARACTERS = st.text(alphabet="ab=#%\\'\"@*/ \t\r\n05$é\x0b\x85\u2028", max_size=60)


def only(text: str, *, is_system: bool = False) -> Line:
    [line] = parse(text, is_system=is_system)
    return line


def entry(text: str, *, is_system: bool = False) -> Entry:
    found = parse(text, is_system=is_system)[-1]
    assert isinstance(found, Entry)
    return found


def variable(text: str) -> tuple[str, str] | None:
    line = only(text)
    return (line.name, line.value) if isinstance(line, Variable) else None


@given(text=st.text() | CRONTAB_CHARACTERS, is_system=st.booleans())
def test_lines_out_are_lines_in(text: str, is_system: bool) -> None:
    lines = parse(text, is_system=is_system)
    assert "".join(line.source for line in lines) == text
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    for line in lines:
        assert line.text + line.ending == line.source
        if isinstance(line, Entry):
            assert line.before + line.command + line.ending == line.source
            assert "\n" not in line.shell_command


@given(content=st.binary())
def test_a_file_is_reproduced_byte_by_byte(content: bytes) -> None:
    assert encoded("".join(line.source for line in parse(decoded(content)))) == content


def test_an_entry_has_a_time_and_a_command() -> None:
    found = entry("  0\t3  * * mon-fri   cd /srv && ./manage.py x  \n")
    assert (found.time, found.user) == ("0 3 * * mon-fri", None)
    assert found.command == "cd /srv && ./manage.py x  "
    assert found.before == "  0\t3  * * mon-fri   "


@pytest.mark.parametrize("macro", ["@daily", "@reboot", "@Hourly"])
def test_a_macro_stands_for_the_five_fields(macro: str) -> None:
    found = entry(f"{macro} ./manage.py x\n")
    assert (found.time, found.command) == (macro, "./manage.py x")


def test_a_system_crontab_has_a_user_column() -> None:
    found = entry("0 3 * * *\twww-data\t./manage.py x\n", is_system=True)
    assert (found.time, found.user, found.command) == ("0 3 * * *", "www-data", "./manage.py x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HOME=/tmp", ("HOME", "/tmp")),
        ("  HOME = /tmp  ", ("HOME", "/tmp")),
        ('MAILTO=""', ("MAILTO", "")),
        ("MAILTO=", ("MAILTO", "")),
        ("CRON_TZ='Europe/London' ", ("CRON_TZ", "Europe/London")),
        ('"CRON_TZ" = "Europe/London"', ("CRON_TZ", "Europe/London")),
        ("A=  two words # and no comment ", ("A", "two words # and no comment")),
        ('A=" kept "', ("A", " kept ")),
        ("A=don't", ("A", "don't")),
        ("A=b=c", ("A", "b=c")),
        ("HOME=/tmp\r\n", ("HOME", "/tmp")),
    ],
)
def test_variables_are_read_as_cron_reads_them(text: str, expected: tuple[str, str]) -> None:
    assert variable(text) == expected


@pytest.mark.parametrize("text", ["A='no end", "A='one' two", "two words = x"])
def test_what_cron_does_not_take_for_a_variable_is_none(text: str) -> None:
    assert variable(text) is None


def test_an_assignment_before_a_command_is_part_of_the_command() -> None:
    assert entry("@daily A=b ./manage.py x\n").command == "A=b ./manage.py x"


def test_a_variable_holds_for_the_lines_below_it() -> None:
    text = "@daily first\nA=1\n@daily second\nA=2\nB=$A\n@daily third\n"
    entries = [line for line in parse(text) if isinstance(line, Entry)]
    assert [each.variables for each in entries] == [{}, {"A": "1"}, {"A": "2", "B": "$A"}]


def test_the_comment_right_above_belongs_to_an_entry() -> None:
    text = "# of the file\n\n# Don't stop\n#   the sync\n@daily first\n@daily second\n"
    entries = [line for line in parse(text) if isinstance(line, Entry)]
    assert [each.comment for each in entries] == ["Don't stop the sync", ""]


@pytest.mark.parametrize(
    "disabled",
    ["0 4 * * * old --key=x", " 0 0 30 2 * old", "@reboot old", "@daily old", "KEY=x", "KEY = x"],
)
def test_a_disabled_line_is_no_comment_on_an_entry(disabled: str) -> None:
    text = (
        f"# about the disabled one\n#{disabled}\n# about this one\n@daily first\n#{disabled}\n@daily second\n"
    )
    entries = [line for line in parse(text) if isinstance(line, Entry)]
    assert [each.comment for each in entries] == ["about this one", ""]


@pytest.mark.parametrize("words", ["Send it to all of us", "@ops: nightly", "see http://host/?a=b"])
def test_other_words_are_a_comment(words: str) -> None:
    [found] = [line for line in parse(f"# {words}\n@daily first\n") if isinstance(line, Entry)]
    assert found.comment == words


@pytest.mark.parametrize("text", ["# it's a comment\n", "\t  # indented"])
def test_a_comment_begins_its_line(text: str) -> None:
    assert isinstance(only(text), Comment)


def test_a_percent_sign_ends_the_command() -> None:
    found = entry("@daily mail -s Hi ops%Dear all,%100\\% done\n")
    assert (found.shell_command, found.stdin) == ("mail -s Hi ops", "Dear all,\n100% done")


def test_an_escaped_percent_sign_does_not_end_the_command() -> None:
    found = entry("@daily date +\\%F\n")
    assert (found.shell_command, found.stdin) == ("date +%F", None)


def test_two_backslashes_are_one_for_the_shell() -> None:
    assert entry("@daily echo 'a\\\\b' e\\\\\\%f\n").shell_command == "echo 'a\\b' e\\%f"


def test_windows_line_endings_are_not_part_of_the_command() -> None:
    found = entry("@daily ./manage.py x\r\n")
    assert (found.command, found.ending) == ("./manage.py x", "\r\n")


def test_the_last_line_may_lack_a_newline() -> None:
    found = entry("@daily first\n@daily last")
    assert (found.command, found.ending) == ("last", "")


@pytest.mark.parametrize(
    ("text", "is_system", "problem"),
    [
        ("0 3 * *", False, "neither five fields"),
        ("hello", False, "neither five fields"),
        ("0 3 * * *", False, "no command"),
        ("@daily \r\n", False, "no command"),
        ("@sometimes x", False, "'@sometimes' is unknown"),
        ("0 3 * * *", True, "no user"),
        ("0 3 * * * root", True, "no command"),
    ],
)
def test_a_line_that_cron_refuses_says_why(text: str, is_system: bool, problem: str) -> None:
    line = only(text, is_system=is_system)
    assert isinstance(line, Invalid)
    assert problem in line.problem
