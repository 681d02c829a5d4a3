"""Malformed messages: each field of a valid one is wrong, missing, huge, nested, or duplicated."""

import base64
import json
import uuid
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

NESTED: Any = None
for _ in range(500):
    NESTED = [NESTED]
HUGE = "x" * 20_000
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 5,
    "a negative number": -1,
    "infinity": float("inf"),
    "a text": "text",
    "an empty text": "",
    "a list": ["x"],
    "an empty list": [],
    "an object": {"x": 1},
    "an empty object": {},
    "a lone surrogate": "\ud800",
    "a NUL": "a\0b",
    "nested": NESTED,
    "huge": HUGE,
}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message in the queue."""

    label: str
    marker: str
    """A text that appears in this message, and in no other."""
    task_id: Any
    item: bytes


def good(task_id: str | None = None, task: str = "probes.probe", **kwargs: Any) -> dict[str, Any]:
    """A message as created by Celery and kombu, with its body not encoded yet."""
    task_id = task_id or str(uuid.uuid4())
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return {
        "body": [[], kwargs, embed],
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "gen1@here",
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def encoded(message: dict[str, Any]) -> bytes:
    """The message in the format of the queue."""
    return json.dumps({**message, "body": _base64(message["body"])}).encode()


def malformed() -> Iterator[Sent]:
    """A message for each field and each way in which it can be malformed; some of them are harmless."""
    for path in _paths(good()):
        name = ".".join(map(str, path))
        for label, value in VALUES.items():
            message = _marked()
            _set(message, path, value)
            yield _sent(f"{name} is {label}", message)
        if isinstance(path[-1], str):
            message = _marked()
            _parent(message, path).pop(path[-1])
            yield _sent(f"{name} is missing", message)
            yield _twice(path, name)
    yield from _broken_as_a_whole()


def _broken_as_a_whole() -> Iterator[Sent]:
    items = {
        "not JSON": b"{%s",
        "not an object": b'["%s"]',
        "a text": b'"%s"',
        "not text": b"\xff\xfe%s",
        "an unterminated object": b'{"%s": {',
        "deep brackets": b'["%s",' + b"[" * 100_000,
        "larger than the limit": b'{"%s": "' + b"x" * 1_100_000 + b'"}',
    }
    for label, item in items.items():
        marker = _marker()
        # The marker is in the part that is kept.
        yield Sent(label=label, marker=marker, task_id=None, item=item.replace(b"%s", marker.encode(), 1))
    for label, body in {"not base64": "%%%a", "not JSON in base64": base64.b64encode(b"{").decode()}.items():
        message = _marked()
        yield _sent(label, message, body=body)
    message = _marked()
    message["headers"]["compression"] = "application/x-gzip"
    yield _sent("compressed", message)
    for parts in range(1, 6):
        message = _marked()
        message["body"] = [*message["body"], {}, {}][:parts]
        if parts != 3:
            yield _sent(f"a body of {parts} parts", message)


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs:
        yield (*above, key)
        if isinstance(each, dict | list) and key != "timelimit":
            yield from _paths(each, (*above, key))


def _marker() -> str:
    return f"marker-{uuid.uuid4()}"


def _marked() -> dict[str, Any]:
    """A valid message, with a marker in each of its parts."""
    message, marker = good(), _marker()
    # Jobs take no positional arguments, so harmless messages become runs that fail immediately.
    message["body"][0] = [marker]
    message["headers"] = {"marker": marker, **message["headers"]}
    return {"marker": marker, **message}


def _sent(label: str, message: dict[str, Any], *, body: Any = None) -> Sent:
    headers = message.get("headers")
    task_id = headers.get("id") if isinstance(headers, dict) else None
    if "body" in message:
        # A value that replaces the body is sent unchanged; otherwise, parts of the body are wrong.
        value = message["body"] if body is None else body
        is_whole = isinstance(value, list) and value != ["x"] and value is not NESTED
        message = {**message, "body": _base64(value) if is_whole and body is None else value}
    return Sent(label=label, marker=message["marker"], task_id=task_id, item=json.dumps(message).encode())


def _twice(path: tuple[Any, ...], name: str) -> Sent:
    """The field is duplicated; Python's parser uses the second one."""
    message = _marked()
    parent = _parent(message, path)
    parent["\0twice"] = ["x"]
    if path[0] == "body":
        text = json.dumps(message["body"]).replace('"\\u0000twice"', f'"{path[-1]}"')
        encoded_body = base64.b64encode(text.encode()).decode()
        item = json.dumps({**message, "body": encoded_body if len(path) > 1 else ["x"]})
    else:
        item = json.dumps({**message, "body": _base64(message["body"])})
    item = item.replace('"\\u0000twice"', f'"{path[-1]}"')
    task_id = message["headers"]["id"]
    return Sent(label=f"{name} is duplicated", marker=message["marker"], task_id=task_id, item=item.encode())


def _parent(message: dict[str, Any], path: tuple[Any, ...]) -> Any:
    parent: Any = message
    for key in path[:-1]:
        parent = parent[key]
    return parent


def _set(message: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    _parent(message, path)[path[-1]] = deepcopy(value) if value is not NESTED else value


def _base64(body: Any) -> str:
    return base64.b64encode(json.dumps(body).encode()).decode()
