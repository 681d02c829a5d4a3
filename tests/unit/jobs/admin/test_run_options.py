"""What a run was given is shown without its secrets, with the line that says the same."""

import pytest

from tasks_app.jobs.admin.run_options import shown_options, without_secrets
from tests.unit.jobs.admin.ledger import made

pytestmark = pytest.mark.django_db


def test_options_are_shown_with_the_line_by_hand() -> None:
    shown = shown_options(made(options={"level": 3, "words": ["a b"]}))
    assert shown.named == [("level", "3"), ("words", '["a b"]')]
    assert shown.line == "manage.py probe --level 3 'a b'"


def test_a_secret_is_masked_everywhere() -> None:
    run = made(job="talking", options={"api_key": "sesame-street"})
    shown = shown_options(run)
    assert "sesame" not in f"{shown.named} {shown.line}"
    assert "--api-key" in shown.line
    assert "sesame" not in without_secrets(run, "no such key: 'sesame-street'")


@pytest.mark.parametrize(
    ("job", "options"), [("gone", {"x": 1}), ("probe", {"level": [1, 2]}), ("probe", {"new": 1})]
)
def test_where_no_line_says_it_there_is_none(job: str, options: dict[str, object]) -> None:
    shown = shown_options(made(job=job, options=options))
    assert (len(shown.named), shown.line) == (1, "")


def test_an_ordinary_task_has_positions() -> None:
    assert shown_options(made(job="proj.tasks.ping", args=["x", 1])).positional == ["x", "1"]
