"""Files of schedules: what is written is read again, by any parser, and what is wrong is located."""

import json
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobledger.schedules.documents.files import JSON, YAML, InvalidFileError, file_text, read
from jobledger.schedules.documents.yaml_texts import MissingLibraryError

TRICKY = ["yes", "no", "on", "~", "null", "1e3", "0o7", "0x1F", "1_000", ".5", ".inf", "12:30", "2026-11-28"]
TRICKY += [
    "=",
    "<<",
    "a\nb",
    " a ",
    "a: b",
    "- x",
    "# x",
    "&a",
    "*a",
    "!x",
    "%x",
    "a\x01\u2028",
    "'",
    '"',
    "é☃😀",
    "",
]

scalars = (
    st.sampled_from(TRICKY)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
)


def documents(options: Any) -> dict[str, Any]:
    return {"nightly": {"job": "probe", "options": options, "cron": "0 3 * * *", "timezone": "UTC"}}


def problems(text: str, kind: str = YAML) -> list[str]:
    try:
        return [str(each) for each in read(text, kind).problems]
    except InvalidFileError as error:
        return [str(each) for each in error.problems]


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), values, max_size=4), st.sampled_from([YAML, JSON])
)
def test_what_is_written_is_read_again(options: Any, kind: str) -> None:
    assert read(file_text(documents(options), kind), kind).documents == documents(options)


@given(st.lists(st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8")), max_size=4))
def test_any_parser_of_yaml_reads_texts_as_texts(texts: list[str]) -> None:
    text = file_text(documents({"words": texts}), YAML)
    assert yaml.safe_load(text)["schedules"]["nightly"]["options"].get("words", []) == texts


def test_the_same_schedules_make_the_same_file() -> None:
    one: dict[str, Any] = {"b": {"job": "x", "options": {"d": 1, "c": {"z": 1, "y": 2}}}, "A": {"job": "y"}}
    other: dict[str, Any] = {"A": {"job": "y"}, "b": {"job": "x", "options": {"c": {"y": 2, "z": 1}, "d": 1}}}
    assert (
        file_text(one, YAML)
        == file_text(other, YAML)
        == (
            "jobledger_schedules: 1\n"
            "schedules:\n"
            "  A:\n"
            "    job: y\n"
            "  b:\n"
            "    job: x\n"
            "    options:\n"
            "      c:\n"
            "        y: 2\n"
            "        z: 1\n"
            "      d: 1\n"
        )
    )
    assert file_text(one, JSON) == file_text(other, JSON)


def test_texts_without_quotes_are_what_they_look_like() -> None:
    text = "jobledger_schedules: 1\nschedules:\n  no:\n    at: 2026-12-01T03:00:00+00:00\n    job: yes\n"
    assert read(text, YAML).documents == {"no": {"at": "2026-12-01T03:00:00+00:00", "job": "yes"}}


def test_an_empty_value_is_as_good_as_none_except_among_the_options() -> None:
    text = "jobledger_schedules: 1\nschedules:\n  x:\n    job: probe\n    queue:\n    options: {warn: null}\n"
    assert read(text, YAML).documents == {"x": {"job": "probe", "options": {"warn": None}}}


BEGIN = "jobledger_schedules: 1\nschedules:\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "this is not an export of schedules: it has no jobledger_schedules: 1"),
        ("- 1", "this is not an export of schedules: it has no jobledger_schedules: 1"),
        ("jobledger_schedules: 2", "line 1, jobledger_schedules: expected 1, not 2"),
        ("jobledger_schedules: true", "line 1, jobledger_schedules: expected 1, not true"),
        ("jobledger_schedules: 1\nschedule: {}", "line 2, schedule: unknown key. Did you mean schedules?"),
        (f"{BEGIN}  x: [1", "line 3: expected ',' or ']'"),
        (f"{BEGIN}  x:\n    jbo: y", "line 4, schedules.x.jbo: unknown key. Did you mean job?"),
        (
            f"{BEGIN}  a b:\n    priority: high",
            'line 4, schedules."a b".priority: expected a whole number, not "high"',
        ),
        (
            f"{BEGIN}  x:\n    priority: true",
            "line 4, schedules.x.priority: expected a whole number, not true",
        ),
        (f"{BEGIN}  x:\n    enabled: yes", 'line 4, schedules.x.enabled: expected true or false, not "yes"'),
        (f"{BEGIN}  x:\n    options: 3", "line 4, schedules.x.options: expected an object, not 3"),
        (f"{BEGIN}  x:\n    cron: 5", "line 4, schedules.x.cron: expected a text, not 5"),
        (f"{BEGIN}  x:\n    solar:\n      lat: 5", "line 5, schedules.x.solar.lat: unknown key."),
        (
            f"{BEGIN}  x:\n    alert_rules:\n      y:\n        kind: []",
            "line 6, schedules.x.alert_rules.y.kind: unk",
        ),
        (
            f"{BEGIN}  x:\n    alert_rules:\n      y: 1",
            "line 5, schedules.x.alert_rules.y: expected an object",
        ),
        (f"{BEGIN}  x: 1", "line 3, schedules.x: expected an object"),
        (
            f'{BEGIN}  x:\n    after: ["a", "b\\0"]',
            "line 4, schedules.x.after: it contains a NUL character; leave it out",
        ),
        (
            f'{BEGIN}  x:\n    declared_as: "a\\0"',
            "line 4, schedules.x.declared_as: it contains a NUL character; leave it out",
        ),
        (f"{BEGIN}  x: {{}}\n  x: {{}}", 'line 4: the key "x" occurs twice'),
        (f"{BEGIN}  x: &a {{}}\n  y: *a", "line 4: references (*name) are not supported"),
        (
            f"{BEGIN}  x: !!python/object:os.system y",
            "line 3: the tag tag:yaml.org,2002:python/object:os.system",
        ),
        (f"{BEGIN}  ? [a]\n  : b", "line 3: a key must be a text"),
        ("\x00", "unacceptable character #x0000"),
        ("[" * 5000, "it is nested too deep"),
        (f"{BEGIN}  x:\n    options: {{a: {'[' * 60}{']' * 60}}}", "it is nested more than 50 levels deep"),
        (f"{BEGIN}  x:\n    options: {{a: 1e999}}", "Infinity is not valid JSON"),
    ],
)
def test_what_is_wrong_with_yaml_is_located(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 1: Expecting property name enclosed in double quotes, at column 2"),
        ('{"a": 1, "a": 2}', 'the key "a" occurs twice in one object'),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ('{"a": "\\ud800"}', "it contains a lone surrogate"),
        ("[" * 100_000, "it is nested too deep"),
        ("9" * 5000, "Exceeds the limit"),
    ],
)
def test_what_is_wrong_with_json_is_located(text: str, problem: str) -> None:
    (found,) = problems(text, JSON)
    assert found.startswith(problem)


def test_every_problem_is_listed() -> None:
    assert len(problems(f"{BEGIN}  x:\n    a: 1\n    b: 2\n  y: 3\n")) == 3


def test_what_is_right_beside_a_wrong_key_is_read() -> None:
    rules = "    alert_rules:\n      z:\n        kind: []\n"
    text = f"{BEGIN}  x:\n    jbo: y\n    cron: 0 3 * * *\n{rules}  y: 3\n"
    found = read(text, YAML)
    assert found.documents == {"x": {"cron": "0 3 * * *", "alert_rules": {"z": {}}}, "y": {}}
    assert [found.has_problem("schedules", name) for name in ("x", "y", "z")] == [True, True, False]


def test_json_needs_no_library_and_yaml_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    text = file_text(documents({}), JSON)
    assert read(text, JSON).documents == documents({}) == json.loads(text)["schedules"]
    with pytest.raises(MissingLibraryError, match=r"pip install 'django-jobledger\[yaml\]'"):
        file_text(documents({}), YAML)
    with pytest.raises(MissingLibraryError):
        read("", YAML)
