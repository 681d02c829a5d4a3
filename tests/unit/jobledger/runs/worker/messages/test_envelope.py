"""Messages that would crash Celery or kombu are rejected; messages that they send themselves are accepted."""

import base64
import json
from typing import Any

import pytest
from celery import current_app, signature
from hypothesis import given
from hypothesis import strategies as st
from kombu.serialization import loads

from jobledger.runs.worker.messages import envelope
from jobledger.runs.worker.messages.envelope import MalformedError
from tests.malformed import NESTED, encoded, good, malformed

LIMIT = 1024 * 1024

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def check(item: bytes, *, may_be_compressed: bool = False) -> None:
    """Validate a message as the transport does, and then the consumer."""
    envelope.check_envelope(item, limit_bytes=LIMIT, may_be_compressed=lambda: may_be_compressed)
    message = json.loads(item)
    body = base64.b64decode(message["body"])
    check_body(message["headers"], body)


def check_body(headers: dict[str, Any], body: bytes) -> None:
    envelope.check_task(
        headers, body, lambda: loads(body, "application/json", "utf-8", accept={"application/json"})
    )


def rejection(item: bytes) -> str:
    with pytest.raises(MalformedError) as found:
        check(item)
    return str(found.value)


def test_a_valid_message_is_accepted() -> None:
    check(encoded(good(level=2)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 60, "expires": 3600},
        {"time_limit": 10, "soft_time_limit": 5.5},
        {"chord": signature("probes.probe")},
        {"callbacks": [signature("probes.probe")], "errbacks": [signature("probes.probe")]},
        {"chain": [signature("probes.probe"), signature("probes.trace")]},
        {
            "group_id": "1",
            "group_index": 2,
            "parent_id": "3",
            "root_id": "4",
            "shadow": "other",
            "retries": 3,
        },
        {"stamped_headers": ["tenant"], "tenant": "a"},
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [current_app.amqp.as_task_v2, current_app.amqp.as_task_v1], ids=["2", "1"])
def test_messages_created_by_celery_are_accepted(make: Any, options: dict[str, Any]) -> None:
    if make == current_app.amqp.as_task_v1:
        options = {
            name: value for name, value in options.items() if name in ("countdown", "expires", "callbacks")
        }
    headers, _, body, _ = make("an-id", "probes.probe", [1], {"level": 2}, **options)
    check_body(headers, json.dumps(body).encode())


REFUSED = {
    "headers.id is a list",
    "headers.task is an object",
    "headers.id is missing",
    "headers.timelimit is a number",
    "headers.stamps is a list",
    "headers.expires is a text",
    "headers.eta is infinity",
    "headers.id is a lone surrogate",
    "headers.retries is true",
    "headers is duplicated",
    "properties.delivery_tag is a list",
    "properties.delivery_info is missing",
    "properties is a text",
    "body is missing",
    "body.1 is nested",
    "body.2.errbacks is a list",
    "a body of 2 parts",
    "not base64",
    "not JSON",
    "not text",
    "deep brackets",
    "compressed",
    "larger than the limit",
}


def test_every_message_is_accepted_or_rejected_without_any_other_exception() -> None:
    refused = {}
    for each in malformed():
        try:
            check(each.item)
        except MalformedError as error:
            refused[each.label] = str(error)
    assert set(refused) >= REFUSED
    assert len(refused) > 500
    assert [reason for reason in refused.values() if "marker" in reason or "xxx" in reason] == []


@given(value=anything, data=st.data())
def test_any_value_in_any_place_is_accepted_or_rejected(value: Any, data: st.DataObject) -> None:
    message = good()
    where = data.draw(
        st.sampled_from([message, message["headers"], message["properties"], message["body"][2]])
    )
    where[data.draw(st.sampled_from(sorted(where)))] = value
    try:
        check(encoded(message))
    except MalformedError:
        pass
    else:
        assert isinstance(message["headers"]["id"], str)


@given(st.binary())
def test_any_bytes_are_accepted_or_rejected(item: bytes) -> None:
    with pytest.raises(MalformedError):
        check(item)


@given(anything)
def test_the_depth_of_a_text_equals_the_depth_of_its_value(value: Any) -> None:
    assert envelope.depth_of(json.dumps(value).encode()) == depth(value)


def depth(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


def test_an_unterminated_string_is_scanned_once() -> None:
    assert envelope.depth_of(b'["' + b'[\\"' * 400_000) == 1


def test_the_depth_is_checked_before_anything_is_parsed() -> None:
    deep = json.dumps(NESTED).encode()

    def decode() -> Any:
        raise AssertionError

    with pytest.raises(MalformedError, match="the body is nested more than 100 levels deep"):
        envelope.check_task(good()["headers"], deep, decode)


def test_a_message_over_the_limit_is_rejected_with_both_sizes() -> None:
    assert rejection(b"x" * (LIMIT + 1)) == "it has 1,048,577 bytes; the limit is 1,048,576"


def test_compressed_messages_are_accepted_if_the_project_sends_them() -> None:
    message = good()
    message["headers"]["compression"] = "application/x-gzip"
    assert "compressed" in rejection(encoded(message))
    check(encoded(message), may_be_compressed=True)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("id", "two\nlines", "invalid value for the header id"),
        ("eta", "0001-01-01T00:00:00+14:00", "invalid value for the header eta"),
        ("eta", "9999-12-31T23:59:59-12:00", "invalid value for the header eta"),
        ("timelimit", [float("inf"), None], "invalid value for the header timelimit"),
        ("timelimit", [True, None], "invalid value for the header timelimit"),
        ("task", "", "invalid value for the header task"),
    ],
)
def test_a_header_that_would_crash_the_worker_is_named(path: str, value: Any, expected: str) -> None:
    message = good()
    message["headers"][path] = value
    assert rejection(encoded(message)) == expected


def test_custom_headers_may_have_any_value() -> None:
    message = good()
    message["headers"] |= {"tenant": "x" * 300, "odd": "a\0b\ud800", "deep": {"er": [1]}}
    check(encoded(message))


@pytest.mark.parametrize("name", ["update", "errbacks", "chord", "args", "delivery_info", "_protected"])
def test_a_header_that_replaces_an_attribute_of_celerys_is_rejected(name: str) -> None:
    message = good()
    message["headers"][name] = ["x"]
    assert rejection(encoded(message)) == "a header has the name of an attribute of Celery's task request"
