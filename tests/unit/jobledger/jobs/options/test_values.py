from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from json import dumps, loads
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.jobs.options import from_namespace, validate_options
from tests.unit.jobledger.jobs.options.parsers import Argument, a_parser, arg


class Color(Enum):
    RED = 1
    BLUE = "azure"


class Level(IntEnum):
    LOW = 1


def by_name(text: str) -> Color:
    return Color[text]


def by_number(text: str) -> Level:
    return Level(int(text))


def split(text: str) -> list[str]:
    return text.split(",")


def truth(text: str) -> bool:
    return {"yes": True, "true": True, "no": False}[text]


AN_ID = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)

OWN_TYPES: list[tuple[Callable[[str], object], Any, Any]] = [
    (date.fromisoformat, date(2024, 2, 29), "2024-02-29"),
    (datetime.fromisoformat, NOON, "2024-02-29T12:00:00+00:00"),
    (time.fromisoformat, time(3, 30), "03:30:00"),
    (Decimal, Decimal("1.10"), "1.10"),
    (UUID, AN_ID, str(AN_ID)),
    (PurePosixPath, PurePosixPath("/tmp/a b"), "/tmp/a b"),
    (Color, Color.BLUE, "azure"),
    (by_name, Color.RED, "RED"),
    (by_number, Level.LOW, "1"),
    (split, ["a", "b"], "a,b"),
    (loads, {"a": [1]}, '{"a": [1]}'),
    (truth, True, "true"),
    (int, 7, 7),
    (float, 7.5, 7.5),
    (float, float("inf"), "inf"),
    (str, "7", "7"),
]


@pytest.mark.parametrize(("own_type", "value", "told"), OWN_TYPES)
def test_a_typed_value_becomes_text_that_parses_back(
    own_type: Callable[[str], object], value: object, told: object
) -> None:
    parser = a_parser(arg("--x", type=own_type), arg("--many", type=own_type, nargs="+"))

    options = from_namespace(parser, {"x": value, "many": [value, value]})

    assert options == {"x": told, "many": [told, told]}
    assert validate_options(parser, options).x == value


KINDS = [
    (arg("--x", type=int, default=7), 7, None),
    (arg("--x", type=int, default="7"), 7, None),
    (arg("--x", type=int, default="none"), 7, 7),
    (arg("--x", default="a"), None, None),
    (arg("--x", nargs="+", default=["a"]), ["a"], None),
    (arg("--x", nargs="*"), [], []),
    (arg("--x", action="store_true"), False, None),
    (arg("--x", action="store_true"), True, True),
    (arg("--x", action="store_true"), 1, True),
    (arg("--x", action="store_false"), False, False),
    (arg("--x", action="store_const", const=7), 7, 7),
    (arg("--x", action="store_const", const=sum), sum, True),
    (arg("--x", action="store_const", const=Color.BLUE), Color.BLUE, "azure"),
    (arg("--x", nargs="?", const=5, type=int), 5, True),
    (arg("--x", nargs="?", const=5, type=int), 6, 6),
    (arg("--x", action="count"), 3, 3),
    (arg("--x", action="count", default=1), 3, 2),
    (arg("--x", action="append"), ["a"], ["a"]),
    (arg("--x", action="append", default=["a"]), ["a", "b"], ["b"]),
    (arg("--x", action="append", nargs=2), [["a", "b"]], [["a", "b"]]),
    (arg("--x", action="extend", nargs="+", type=int), [1, 2], [1, 2]),
    (arg("--x", action="extend", nargs="+", type=split), [["a", "b"], ["c"]], ["a,b", "c"]),
    (arg("--x", action="append_const", const=str), [str, str], ["x", "x"]),
    (arg("x", nargs="?"), "a", "a"),
]


@pytest.mark.parametrize(("argument", "value", "told"), KINDS)
def test_values_that_differ_from_the_default_are_included(
    argument: Argument, value: object, told: object
) -> None:
    parser = a_parser(argument)

    assert from_namespace(parser, {"x": value}) == ({} if told is None else {"x": told})


def test_zero_is_not_mistaken_for_a_flag_that_stores_false() -> None:
    parser = a_parser(
        arg("--limit", type=int, default=9),
        arg("--no-limit", action="store_const", const=False, dest="limit"),
    )

    assert from_namespace(parser, {"limit": 0})["limit"] is not False
    assert from_namespace(parser, {"limit": False})["limit"] is False


def test_only_a_jobs_own_options_and_unusual_verbosity_are_included() -> None:
    received = {
        "settings": "a",
        "stdout": object(),
        "skip_checks": True,
        "no_color": True,
        "scheduled_for": NOON,
        "x": "a",
    }
    parser = a_parser(arg("--x"))

    assert from_namespace(parser, {**received, "verbosity": 1}) == {"x": "a"}
    assert from_namespace(parser, {**received, "verbosity": 0}) == {"x": "a", "verbosity": 0}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=4,
)


@settings(max_examples=100)
@given(argument=st.sampled_from([argument for argument, *_ in KINDS]), value=ANYTHING)
def test_whatever_a_command_received_becomes_json(argument: Argument, value: object) -> None:
    dumps(from_namespace(a_parser(argument), {"x": value}), allow_nan=False)
