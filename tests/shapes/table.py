"""What each shape of command and option is given, in JSON and on a command line, and what it prints."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One way to call a command."""

    name: str
    job: str
    options: dict[str, Any]
    line: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return self.name


def _option(name: str, options: dict[str, Any], *line: str, **received: Any) -> Shape:
    """Options of the job that prints them; it receives the same values, unless others are given."""
    output = f"{json.dumps(received or options)}\n"
    return Shape(name=name, job="shape-options", options=options, line=line, output=output)


def _command(name: str, job: str, options: dict[str, Any], *line: str, output: str) -> Shape:
    return Shape(name=name, job=job, options=options, line=line, output=f"{output}\n")


SHAPES = [
    _option("no option of a command with a dash", {}),
    _option(
        "a positional named version and one with nargs=*",
        {"version": "1.2", "names": ["a", "b"]},
        *("1.2", "a", "b"),
    ),
    _option("type=bool, true", {"flag": True}, "--flag", "yes"),
    Shape(
        name="type=bool, false",
        job="shape-options",
        options={"flag": False},
        line=("--flag=",),
        output="{}\n",
    ),
    _option("nargs=2 and negative numbers", {"at": [-5, -3]}, "--at", "-5", "-3"),
    _option("a custom action, once", {"set": "a:1"}, "--set", "a:1", set={"a": "1"}),
    _option(
        "a custom action, twice",
        {"set": ["a:1", "b:2"]},
        *("--set", "a:1", "--set=b:2"),
        set={"a": "1", "b": "2"},
    ),
    _option("append_const", {"kinds": ["int", "str", "int"]}, "--int", "--str", "--int"),
    _option("default=SUPPRESS", {"maybe": "x"}, "--maybe=x"),
    _option("a negative number", {"offset": -7}, "--offset", "-7"),
    _option("count", {"times": 3}, "-ttt"),
    _option("BooleanOptionalAction", {"cache": True}, "--cache"),
    _option("choices that are an enum", {"colour": "red"}, "--colour", "red"),
    _option("choices that are lazy", {"lazy": "b"}, "--lazy", "b"),
    _option("choices that are a generator", {"computed": "b"}, "--computed", "b"),
    _option("a mutually exclusive group", {"two": "x"}, "--two", "x"),
    _option("an option named like one of ours", {"wait": 2.5}, "--wait", "2.5"),
    _option("a flag named like one of ours", {"allow_overlap": True}, "--allow-overlap"),
    _command(
        "nargs=REMAINDER",
        "remaining",
        {"command": "run", "rest": ["x", "--y", "-z"]},
        *("run", "x", "--y", "-z"),
        output="run x --y -z",
    ),
    _command(
        "a subcommand",
        "branching",
        {"action": "fetch", "url": "u", "tries": 3},
        *("fetch", "u", "--tries", "3"),
        output="fetch u 3 None",
    ),
    _command(
        "another subcommand",
        "branching",
        {"action": "purge", "all": True},
        *("purge", "--all"),
        output="purge None None True",
    ),
    _command("LabelCommand", "labels", {"args": ["a", "b"]}, "a", "b", output="label a\nlabel b"),
    _command("AppCommand", "applications", {"args": ["sessions"]}, "sessions", output="Sessions"),
    _command("async def handle", "asynchronous", {}, output="1 of this run"),
    _command("async def handle of a plain command", "asynchronous_plain", {}, output="awaited"),
    _command(
        "the class of another app's command",
        "inherited",
        {"words": ["x"], "level": 2},
        *("x", "--level=2"),
        output="x",
    ),
    _command("output_transaction", "sql", {}, output="BEGIN;\nSELECT 1;\nCOMMIT;"),
]
