"""Validates messages before Celery and kombu process them. Pure.

Neither of them expects messages that their own publishers would not send: the exception crashes the worker's
main process, and the message is redelivered and crashes the next one. So everything that they read is
validated first: ``check_envelope`` validates what kombu's channel reads before it records a message as
delivered, and ``check_task`` what the worker reads before it passes the message to a child. The arguments of
tasks are only validated for size and depth.

Reasons never quote values, because they are logged and messages may contain secrets.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from celery.app.task import Context
from celery.utils.time import maybe_iso8601

MAX_DEPTH = 100
"""Twice the limit for options, because the task of a chain also contains its successors."""
MAX_NAME_LENGTH = 1000
"""In characters, for ids and names, which are used in keys and in logs."""
MAX_TEXT_LENGTH = 10_000
MAX_LIMIT_SECONDS = 10 * 366 * 24 * 3600
YEARS = range(1971, 9999)
"""For which date arithmetic works in any time zone."""

_BRACKETS = re.compile(rb"[\[\]{}]")
# Possessive, and also matches unterminated strings, so it is linear in the length of the message.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class MalformedError(Exception):
    """A message that cannot be processed; the text says why, without quoting the message."""


def check_envelope(item: bytes, *, limit_bytes: int, may_be_compressed: Callable[[], bool]) -> None:
    """Validate a message in the format of kombu's Redis transport. Raises MalformedError."""
    check_size(len(item), limit_bytes=limit_bytes)
    envelope = _object(_parsed(item, "the message"), "the message")
    properties = _object(envelope.get("properties"), "properties")
    delivery = _object(properties.get("delivery_info"), "properties.delivery_info")
    headers = _object(envelope.get("headers"), "headers")
    _require(_is_name, properties, "delivery_tag", "properties.delivery_tag")
    _require(_is_text, delivery, "exchange", "properties.delivery_info.exchange")
    _require(_is_text, delivery, "routing_key", "properties.delivery_info.routing_key")
    for name, is_valid in _PROPERTIES.items():
        _allow(is_valid, properties, name, f"properties.{name}")
    for name in ("content-type", "content-encoding"):
        _allow(_is_name, envelope, name, name)
    if headers.get("compression") is not None:
        check_compression(may_be_compressed=may_be_compressed())
    _check_body(envelope.get("body"), properties.get("body_encoding"))


def check_size(size: int, *, limit_bytes: int) -> None:
    """Raise MalformedError for a message that is too large."""
    if size > limit_bytes:
        raise MalformedError(f"it has {size:,} bytes; the limit is {limit_bytes:,}")


def check_compression(*, may_be_compressed: bool) -> None:
    """Raise MalformedError for a compressed message: a few bytes might expand to gigabytes."""
    if not may_be_compressed:
        raise MalformedError("it is compressed, although task_compression is not set")


def check_task(headers: Mapping[str, Any], body: bytes | str | None, decode: Callable[[], Any]) -> None:
    """Validate a task message of Celery's protocol 2 or 1. Raises MalformedError.

    ``decode`` decodes the body; it is only called if the body is not nested too deeply.
    """
    _check_depth(body.encode(errors="replace") if isinstance(body, str) else body or b"", "the body")
    try:
        payload = decode()
    except Exception as error:
        raise MalformedError(f"the body cannot be decoded ({type(error).__name__})") from error
    if "task" in headers:
        _reject_attributes(headers)
        _check_fields(headers, "the header")
        args, kwargs, embed = _three_parts(payload)
    else:
        fields = _object(payload, "the body of a message without a task header")
        _check_fields({**headers, **fields}, "the field")
        args, kwargs, embed = fields.get("args", []), fields.get("kwargs", {}), fields
    if not isinstance(args, list):
        raise MalformedError("args is not a list")
    _object(kwargs, "kwargs")
    for name, is_valid in _EMBEDDED.items():
        _allow(is_valid, embed, name, name)


def depth_of(text: bytes) -> int:
    """The nesting depth of a JSON text, without parsing it; for any other text, the number is meaningless."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_TEXT.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _parsed(text: bytes, what: str) -> Any:
    _check_depth(text, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{what} is not JSON ({type(error).__name__})") from error


def _check_depth(text: bytes, what: str) -> None:
    # Hardly any message has as many brackets in all, and to count them is faster.
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and depth_of(text) > MAX_DEPTH:
        raise MalformedError(f"{what} is nested more than {MAX_DEPTH} levels deep")


def _check_body(body: Any, encoding: str | None) -> None:
    if not isinstance(body, str):
        raise MalformedError("body is not a string")
    if encoding == "base64":
        try:
            base64.b64decode(body.encode())
        except ValueError as error:
            raise MalformedError("body is not base64") from error


def _check_fields(fields: Mapping[str, Any], what: str) -> None:
    for name in ("id", "task"):
        _require(_is_name, fields, name, f"{what} {name}")
    for name, is_valid in _FIELDS.items():
        _allow(is_valid, fields, name, f"{what} {name}")


def _reject_attributes(headers: Mapping[str, Any]) -> None:
    """Celery turns every header into an attribute of the task's request, replacing attributes of its own."""
    if not _ATTRIBUTES.isdisjoint(headers):
        raise MalformedError("a header has the name of an attribute of Celery's task request")


def _three_parts(payload: Any) -> tuple[Any, Any, dict[str, Any]]:
    if not isinstance(payload, list) or len(payload) != 3:
        raise MalformedError("the body does not have three parts: args, kwargs and embed")
    args, kwargs, embed = payload
    return args, kwargs, _object({} if embed is None else embed, "the body's third part")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not a JSON object")
    return value


def _require(is_valid: Callable[[Any], bool], fields: Mapping[str, Any], name: str, what: str) -> None:
    if name not in fields:
        raise MalformedError(f"{what} is missing")
    if not is_valid(fields[name]):
        raise MalformedError(f"invalid value for {what}")


def _allow(is_valid: Callable[[Any], bool], fields: Mapping[str, Any], name: str, what: str) -> None:
    value = fields.get(name)
    if value is not None and not is_valid(value):
        raise MalformedError(f"invalid value for {what}")


def _is_name(value: Any) -> bool:
    """Can be used in a key and in a line of the log."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH and value.isprintable()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_time(value: Any) -> bool:
    try:
        time = maybe_iso8601(value) if isinstance(value, str) else None
    except (ValueError, TypeError, AttributeError, OverflowError):
        return False
    return time is not None and time.year in YEARS


def _are_limits(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_limit, value))


def _is_limit(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and 0 <= value <= MAX_LIMIT_SECONDS)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_signature(value: Any) -> bool:
    return isinstance(value, dict) and _is_name(value.get("task"))


def _are_signatures(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_signature, value))


_PROPERTIES: Mapping[str, Callable[[Any], bool]] = {
    "body_encoding": lambda value: value in ("base64", "utf-8"),
    "correlation_id": _is_text,
    "reply_to": _is_text,
    "priority": _is_count,
}
_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "shadow": _is_name,
    **dict.fromkeys(("lang", "root_id", "parent_id", "group", "origin", "argsrepr", "kwargsrepr"), _is_text),
    **dict.fromkeys(("eta", "expires"), _is_time),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), _is_count),
    **dict.fromkeys(("ignore_result", "utc"), _is_flag),
    "timelimit": _are_limits,
    "stamped_headers": _are_texts,
    "stamps": _is_object,
    "headers": _is_object,
}
_ATTRIBUTES = frozenset(dir(Context)) - {*_FIELDS, "id", "task"}
_EMBEDDED: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("callbacks", "errbacks", "chain"), _are_signatures),
    "chord": _is_signature,
}
