"""Where Debian's cron would not fire a line, and where its fields mean something else than they seem to."""

import pytest

from jobledger.crontab import timing
from jobledger.crontab.lines import Entry, parse


def entry(time: str, *above: str, command: str = "x") -> Entry:
    line = parse("\n".join([*above, f"{time} {command}\n"]))[-1]
    assert isinstance(line, Entry)
    return line


@pytest.mark.parametrize(
    "time",
    ["@daily", "0 0 1-5 JAN,feb mon-fri", "*/90 * * * *", "0 0 * * 7", "0 0 * * sun-tue", "0 0 * * sat-7"],
)
def test_what_debians_cron_accepts_is_not_warned_of(time: str) -> None:
    assert list(timing.differences(entry(time))) == []


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("@Daily", "refuses a crontab with '@Daily'"),
        ("0 22-2 * * *", "a range that wraps around (22-2), but never fires it"),
        ("0 0 * * fri-sun/2", "a range that wraps around (fri-sun/2)"),
        ("0 0 1 january *", "names of three letters, and refuses a crontab with 'january'"),
        ("0 0 * * fri-sunday", "refuses a crontab with 'sunday'"),
        ("0 0 L * *", "does not know 'l'"),
        ("0 0 * * mon#2", "ignores what follows the # in 'mon#2', and fires it every mon"),
        ("0 0 * * 1,5L", "does not know '5l'"),
    ],
)
def test_what_debians_cron_refuses_or_never_fires_is_warned_of(time: str, text: str) -> None:
    [difference] = timing.differences(entry(time))
    assert text in difference


def test_a_command_that_is_too_long_for_debians_cron_is_warned_of() -> None:
    assert list(timing.differences(entry("@daily", command="x" * 998))) == []
    assert "more than 998 bytes" in next(timing.differences(entry("@daily", command="é" * 500)))


@pytest.mark.parametrize(
    ("above", "zone"),
    [
        ([], None),
        (["TZ=UTC"], ("TZ", "UTC")),
        (["CRON_TZ='Europe/London'", "TZ=UTC"], ("CRON_TZ", "Europe/London")),
        (["CRON_TZ=UTC", "CRON_TZ="], None),
    ],
)
def test_the_zone_is_that_of_cron_tz_or_else_of_tz(above: list[str], zone: tuple[str, str] | None) -> None:
    assert timing.zone_of(entry("@daily", *above)) == zone


def test_a_file_that_cron_reads_as_it_is_has_no_surprises() -> None:
    assert list(timing.surprises_of_file(parse("A=b\n@daily x\n"))) == []
    assert list(timing.surprises_of_file(parse(""))) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("@daily x", "Line 1 does not end with a newline"),
        ("@daily x\r\n", "Line 1 ends with a carriage return"),
        ("A=b\r\n@daily x\n@daily y\r\n", "Lines 1 and 3 end with a carriage return"),
        ("CRON_TZ=UTC\n", "Line 1 sets CRON_TZ"),
        ("CRON_TZ=\n", 'Line 1 needs quotes, CRON_TZ=""'),
        ("A=b=\nPATH=/srv/bin:$PATH\n", "Line 2 does not extend PATH"),
    ],
)
def test_what_concerns_a_file_is_warned_of(text: str, warning: str) -> None:
    [found] = timing.surprises_of_file(parse(text))
    assert found.startswith(warning)
