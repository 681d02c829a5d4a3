"""Secrets are masked, and a posted mask stands for the value that it masked and for nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.jobs import registry, secrets
from jobledger.jobs.json_text import excerpt
from jobledger.jobs.options.parser import options_of
from jobledger.jobs.secrets import MASK, is_secret, looks_secret, masked, without_secrets
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import Argument, arg


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "--api-key",
        "apiKey",
        "DB_PASSWORD",
        "tokens",
        "accesstoken",
        "AWS_SECRET_ACCESS_KEY",
        "client-secret",
        "auth",
    ],
)
def test_a_name_can_suggest_a_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["days", "keyboard", "key", "author", "password_file", "max_token_length", "token_ttl", "monkey", ""],
)
def test_a_similar_name_is_harmless(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (arg("--api-key", dest="k"), True),
        (arg("token"), True),
        (arg("--tokens", nargs="+"), True),
        (arg("--token", default=3, type=int), False),
        (arg("--ask-password", action="store_true"), False),
        (arg("--days", type=int), False),
        (arg("--pin"), True),
    ],
)
def test_an_option_is_secret_by_its_name_or_by_declaration(argument: Argument, expected: bool) -> None:
    job = a_job(argument, secret_options=("pin",))
    (option, _verbosity) = options_of(job.create_parser()).values()
    assert is_secret(job, option) is expected


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> registry.Job:
    """A registered job with secrets and other options."""
    made = a_job(
        arg("--api-key", dest="k"),
        arg("--pin", type=int),
        arg("--tokens", nargs="*"),
        arg("--days", type=int),
        arg("--secret", action="store_true"),
        arg("--access-token", type=int, default=3),
        secret_options=["pin"],
    )
    monkeypatch.setattr(registry, "all_jobs", lambda: {made.name: made})
    return made


def test_only_secrets_are_masked(job: registry.Job) -> None:
    options = {"k": "abc", "pin": 4711, "tokens": ["a", "b"], "days": 3, "secret": True}
    assert masked("job", options) == {"k": MASK, "pin": MASK, "tokens": MASK, "days": 3, "secret": True}


def test_an_option_that_cannot_be_secret_is_not_masked_whatever_its_name(job: registry.Job) -> None:
    assert masked("job", {"access_token": 5}) == {"access_token": 5}


def test_the_name_decides_for_an_option_that_no_longer_exists(job: registry.Job) -> None:
    assert masked("job", {"password": "x", "gone": "y"}) == {"password": MASK, "gone": "y"}


def test_a_misspelled_or_abbreviated_secret_is_masked(job: registry.Job) -> None:
    options = {"tokensx": "x", "tok": "x", "pins": 1, "to": 2, "kind": 3}
    assert masked("job", options) == {"tokensx": MASK, "tok": MASK, "pins": MASK, "to": 2, "kind": 3}


def test_names_decide_for_a_job_that_no_longer_exists_even_in_nested_objects() -> None:
    options = {"days": 3, "auth_token": "x", "hosts": [{"name": "a", "password": "x"}], "password": None}
    shown = {"days": 3, "auth_token": MASK, "hosts": [{"name": "a", "password": MASK}], "password": None}
    assert masked("gone", options) == shown


def test_a_failing_parser_unmasks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(parser: Any) -> None:
        raise RuntimeError

    broken = a_job(build=fail, secret_options=["pin"])
    monkeypatch.setattr(registry, "all_jobs", lambda: {"job": broken})
    assert masked("job", {"pin": 1, "password": "x", "days": 2}) == {"pin": MASK, "password": MASK, "days": 2}


def test_secrets_in_a_text_are_masked(job: registry.Job) -> None:
    options = {"k": "hunter2", "tokens": ["abcdef", "x"], "days": 3}
    text = "argument --api-key: 'hunter2' (hunter2) is bad, abcdef and 'x' as well, x in 3 days"
    shown = f"argument --api-key: '{MASK}' ({MASK}) is bad, {MASK} and '{MASK}' as well, x in 3 days"
    assert without_secrets("job", options, text) == shown


def test_the_default_of_a_secret_option_is_masked_in_a_text_if_it_is_not_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = arg("--secret-key", default="topsecret99"), arg("--name", default="ordinary")
    monkeypatch.setattr(registry, "all_jobs", lambda: {"job": a_job(*arguments)})
    assert without_secrets("job", {}, "topsecret99 'topsecret99' ordinary") == f"{MASK} '{MASK}' ordinary"


@pytest.mark.parametrize(
    "options",
    [
        {"pin": 4711},
        {"pin": ["47", 11, {"a": "4711"}]},
        {"k": {"name": {"deep": ["4711"]}}},
        {"k": 'a "quoted" \n 4711'},
        {"k": "\u00e9" * 100 + "4711"},
        {"k": {"4711": True}},
        {"tokens": [["4711"]]},
        {"days": [{"password": "4711"}]},
    ],
)
def test_an_error_about_the_shape_of_a_secret_does_not_quote_it(
    job: registry.Job, options: dict[str, Any]
) -> None:
    quoted = []
    for value in options.values():
        parts = [value, *(value if isinstance(value, list) else [])]
        quoted += [f"expected a list, not {excerpt(part)}" for part in parts]
        quoted += [f"{json.dumps(part)} or {part!r} is wrong" for part in parts if not isinstance(part, int)]
    for text in quoted:
        assert "4711" not in without_secrets("job", options, text)


def test_an_error_about_the_shape_of_another_option_quotes_its_value(job: registry.Job) -> None:
    text = 'days: expected text or a number, not ["a"]'
    assert without_secrets("job", {"days": ["a"], "k": []}, text) == text


def test_secrets_of_nested_arguments_are_masked_in_a_text() -> None:
    args = [{"password": "hunter2"}, "plain text"]
    shown = without_secrets(
        "gone", {"login": {"token": "swordfish"}}, "hunter2 swordfish plain text", args=args
    )
    assert shown == f"{MASK} {MASK} plain text"


def test_positional_arguments_are_masked_by_their_nested_names() -> None:
    assert secrets.masked_args(["a", [{"password": "x", "n": 1}]]) == ["a", [{"password": MASK, "n": 1}]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"api_key": "x",}', MASK),
        ('{"pin": 1', MASK),
        ("Authorization: x", MASK),
        ('{"days": 7,}', '{"days": 7,}'),
        ('{"k": 1', MASK),
    ],
)
def test_invalid_json_is_masked_if_it_contains_the_name_of_a_secret(
    job: registry.Job, text: str, shown: str
) -> None:
    assert secrets.masked_text("job", text) == shown


def test_a_mask_has_the_shape_of_what_it_hides() -> None:
    assert secrets.mask_like(["a", ["b"], True, None, 7]) == [MASK, [MASK], True, None, MASK]


# Posted masks

STORED = {"api_key": "s3cret", "days": 7, "login": {"password": "pw", "user": "ann"}}
MASKED = {"api_key": MASK, "days": 7, "login": {"password": MASK, "user": "ann"}}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", MASK[:3]]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["token", "days", "password", "list"]), inner, max_size=3)
    ),
    max_leaves=10,
)


def test_displayed_masks_stand_for_the_stored_values() -> None:
    assert secrets.unmasked({**MASKED, "days": 8}, STORED, MASKED) == {**STORED, "days": 8}


def test_a_new_value_replaces_a_masked_secret() -> None:
    assert secrets.unmasked({"api_key": "new"}, STORED, MASKED) == {"api_key": "new"}


@pytest.mark.parametrize("posted", [{"days": MASK}, {"other": MASK}, MASK, [MASK], {"api_key": [MASK]}])
def test_a_mask_in_another_place_stands_for_nothing(posted: Any) -> None:
    with pytest.raises(secrets.UnknownMaskError, match="there is none here"):
        secrets.unmasked(posted, STORED, MASKED)


@given(st.dictionaries(st.sampled_from(["token", "days", "login", "list"]), VALUES, max_size=4))
def test_posting_the_displayed_values_keeps_the_stored_ones(stored: dict[str, Any]) -> None:
    masked = secrets.masked("no.job", stored)
    assert secrets.unmasked(masked, stored, masked) == stored


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["mysqldump", "--password=abc", "db"], "mysqldump --password=******** db"),
        (["curl", "--api-key", "abc", "http://x"], "curl --api-key ******** http://x"),
        (["env", "DB_PASSWORD=abc", "run"], "env DB_PASSWORD=******** run"),
        (["sh", "-c", "login --token 'a b' now"], "sh -c login --token ******** now"),
        (["psql", "postgres://ann:abc@host/db"], "psql postgres://ann:********@host/db"),
        (["run", "--token", "--verbose"], "run --token --verbose"),
        (["curl", "--password", "my own", "http://x"], "curl --password ******** http://x"),
        (["login", "--token", "-abc", "-v"], "login --token ******** -v"),
        (["env", "DB_PASSWORD=a b", "run"], "env DB_PASSWORD=******** run"),
        (["env", "DB_TOKEN=-abc", "run"], "env DB_TOKEN=******** run"),
        (["docker", "run", "-e", "DB_PASSWORD=abc", "db"], "docker run -e DB_PASSWORD=******** db"),
        (["sh", "-c", "exec env -i TOKEN='a b' run"], "sh -c exec env -i TOKEN=******** run"),
        (["curl", "http://x/?days=1&token=abc"], "curl http://x/?days=1&token=********"),
        (["curl", "-H", "Authorization: Bearer abc"], "curl -H Authorization: ********"),
        (["sh", "-c", "curl -H 'Cookie: a=b; c=d' x"], "sh -c curl -H 'Cookie: ********' x"),
        (["curl", "-d", '{"token": "a b", "days": 7}'], 'curl -d {"token": ********, "days": 7}'),
        (["sleep", "600", "--count=3"], "sleep 600 --count=3"),
    ],
)
def test_the_secrets_in_the_command_of_any_process_are_masked(words: list[str], masked: str) -> None:
    assert secrets.masked_command(words) == masked
