"""A function may be called while options are only validated if it depends on nothing but its argument."""

import argparse
import datetime as dt
import decimal
import enum
import functools
import ipaddress
import json
import os
import pathlib
import re
import shlex
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy

from jobledger import pure
from jobledger.jobs.options.purity import is_pure
from tasks_app import parser_types
from tasks_app.models import Tag

COLOURS = {"red": 1, "blue": 2}
MESSAGE = gettext_lazy("none")
calls: list[str] = []


class Colour(enum.Enum):
    RED = "red"


class Asking(enum.Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls(open(str(value)).read())  # noqa: PTH123


class Level(int, enum.Enum):
    LOW = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls.LOW


class Range:
    def __init__(self, start: Any) -> None:
        self.start = start

    def __call__(self, text: str) -> int:
        if int(text) < self.start:
            raise argparse.ArgumentTypeError(f"{text} is too small")
        return int(text)


class Helped(Range):
    def __call__(self, text: str) -> int:
        return self.help(text)

    def help(self, text: str) -> int:
        return len(os.listdir(text))  # noqa: PTH208


def words(text: str) -> list[str]:
    if not re.match(r"[\w,]+$", text):
        raise ValueError(MESSAGE)
    return [COLOURS.get(word, word) for word in text.split(",")]  # type: ignore[misc]


def recursive(text: str) -> int:
    return 1 + recursive(text[1:]) if text else settings.LANGUAGE_CODE.count("x")


def existing(text: str) -> str:
    if not os.path.exists(text):  # noqa: PTH110
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return text


def existing_path(text: str) -> pathlib.Path:
    if not pathlib.Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return pathlib.Path(text)


def imported(text: str) -> Any:
    from subprocess import check_output

    return check_output(text)


def counted(text: str) -> str:
    global COLOURS  # noqa: PLW0603
    COLOURS = {}
    return text


@pure
def declared(text: str) -> str:
    return existing(text)


def within(start: int, convert: Callable[[str], int]) -> Callable[[str], int]:
    def parse(text: str) -> int:
        return max(start, convert(text))

    return parse


PURE = [
    None,
    int,
    float,
    str,
    bool,
    decimal.Decimal,
    uuid.UUID,
    dt.date.fromisoformat,
    json.loads,
    re.compile,
    zoneinfo.ZoneInfo,
    ipaddress.ip_address,
    shlex.split,
    str.lower,
    pathlib.Path,
    Colour,
    Level,
    functools.cache(words),
    words,
    recursive,
    declared,
    Range(3),
    within(1, int),
    within(1, lambda text: int(text, base=16)),
    functools.partial(int, base=16),
    lambda text: dt.datetime.strptime(text, "%Y-%m").astimezone().date(),
    parser_types.day,
    parser_types.tag,
    parser_types.whole_number(0, 9),
    parser_types.user_id,
]
IMPURE = [
    open,
    print,
    argparse.FileType("w"),
    functools.partial(open, mode="w"),
    lambda text: open(text, "w"),  # noqa: SIM115, PTH123
    lambda text: [open(each) for each in text.split()],  # noqa: SIM115, PTH123
    lambda text: argparse.FileType("w")(text).name,
    existing,
    existing_path,
    imported,
    counted,
    os.stat,
    os.environ.get,
    pathlib.Path.cwd,
    Range(os),
    Range(SimpleLazyObject(lambda: calls.append("evaluated"))),
    Helped(3),
    within(1, existing),  # type: ignore[arg-type]
    Asking,
    functools.lru_cache(existing),
    functools.cache(Tag.objects.get),
    Tag,
    Tag.objects.get,
    lambda text: Tag.objects.get(name=text),
]


@pytest.mark.parametrize("function", PURE)
def test_a_conversion_is_pure(function: object) -> None:
    assert is_pure(function)


@pytest.mark.parametrize("function", IMPURE)
def test_what_may_look_outside_or_change_something_is_not_pure(function: object) -> None:
    assert not is_pure(function)
    assert calls == []
