"""Reads and writes YAML with PyYAML, which only this format needs.

What is read is the part of YAML that JSON has as well: no dates, no ``yes``, no references and no tags, so
that a text without quotes is what it looks like. What is written is read alike by any parser of YAML.
"""

import importlib
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jobledger.escapes import escaped_lines

WIDTH = 2**31 - 1
"""Lines are not wrapped, so that a change of a text changes one line."""
_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
)
_OTHER_NUMBER = re.compile(r"[-+]?(0o[0-7]+|0x[0-9a-fA-F]+|\.?[0-9][0-9_.]*([eE][-+]?[0-9]+)?)")
"""What is a number for parsers of YAML 1.2 only, or for those of 1.1."""
_PLAIN_TAGS = {tag for tag, _, _ in _SCALARS} | {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")
}


class MissingLibraryError(Exception):
    """PyYAML is not installed."""

    def __init__(self) -> None:
        super().__init__("YAML needs PyYAML: pip install 'django-jobledger[yaml]'. JSON needs nothing")


class SyntaxProblem(ValueError):  # noqa: N818 - it is what is wrong with a text
    """A text is not in the expected syntax."""

    def __init__(self, text: str, *, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def dumped(content: Any) -> str:
    """The content as YAML. Raises MissingLibraryError."""
    yaml = _library()
    text: str = yaml.dump(
        content, Dumper=_dumper(), allow_unicode=True, sort_keys=False, width=WIDTH, default_flow_style=False
    )
    return text


def loaded(text: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The content, and the lines of its keys. Raises SyntaxProblem or MissingLibraryError."""
    yaml = _library()
    lines: dict[tuple[str, ...], int] = {}
    try:
        node = yaml.compose(text, Loader=_loader())
        content = None if node is None else _value(node, (), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context)
        raise SyntaxProblem(problem, line=mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise SyntaxProblem(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise SyntaxProblem("it is nested too deep") from error
    return content, lines


def _library() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError as error:
        raise MissingLibraryError from error


@cache
def _loader() -> Any:
    yaml = _library()

    class Loader(yaml.SafeLoader):  # type: ignore[misc,name-defined]
        """Recognizes only JSON's kinds of values, and composes no references, which could be endless."""

        yaml_implicit_resolvers: Mapping[str, Any] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                raise yaml.composer.ComposerError(
                    None, None, "references (*name) are not supported", event.start_mark
                )
            return super().compose_node(parent, index)

    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(tag, re.compile(rf"^(?:{pattern})$"), first)
    return Loader


@cache
def _dumper() -> Any:
    yaml = _library()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined]
        """Repeats equal values instead of referring to them, and writes texts of several lines as such."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=_style(value))

    Dumper.add_representer(str, text)
    return Dumper


def _style(text: str) -> str | None:
    """How to quote a text; None if PyYAML may decide."""
    if escaped_lines(text) != text:
        # PyYAML would read some line breaks of Unicode as others.
        return '"'
    if "\n" in text:
        return "|"
    return "'" if _OTHER_NUMBER.fullmatch(text) else None


def _value(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> Any:
    """The node's JSON value."""
    line = node.start_mark.line + 1
    if node.tag not in _PLAIN_TAGS:
        raise SyntaxProblem(f"the tag {node.tag} is not supported", line=line)
    match node.id:
        case "mapping":
            return _object(node, path, lines)
        case "sequence":
            return [_value(each, (*path, str(index)), lines) for index, each in enumerate(node.value)]
    return _scalar(node)


def _object(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.id != "scalar":
            raise SyntaxProblem("a key must be a text", line=line)
        name = str(key.value)
        if name in found:
            raise SyntaxProblem(f"the key {json.dumps(name, ensure_ascii=False)} occurs twice", line=line)
        lines[(*path, name)] = line
        found[name] = _value(value, (*path, name), lines)
    return found


def _scalar(node: Any) -> Any:
    kind = node.tag.rpartition(":")[2]
    match kind:
        case "null":
            return None
        case "bool":
            return node.value.lower() == "true"
        case "int":
            return int(node.value)
        case "float":
            return float(node.value)
    return node.value
