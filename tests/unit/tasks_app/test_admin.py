"""The sample tables can be searched and edited in the admin."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.unit.builders import make_order, make_token, output_of, utc

pytestmark = pytest.mark.django_db

MODELS = ["authtoken", "tag", "order", "dailystat", "userstat"]


@pytest.mark.parametrize("model", MODELS)
def test_every_table_has_a_list_that_can_be_searched(admin_client: Client, model: str) -> None:
    assert admin_client.get(f"/admin/tasks_app/{model}/?q=anna").status_code == 200


def test_what_the_jobs_computed_is_listed(admin_client: Client) -> None:
    user = make_order(utc(2026, 1, 1), "345.60").user
    output_of("compute_daily_stats", "--date=2026-01-01")
    output_of("compute_stats", str(user.pk))
    for model in "dailystat", "userstat":
        assert "345.60" in admin_client.get(f"/admin/tasks_app/{model}/").content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_every_table_has_a_form(admin_client: Client, model: str) -> None:
    assert admin_client.get(f"/admin/tasks_app/{model}/add/").status_code == 200


def test_a_long_list_takes_no_more_queries_than_a_short_one(admin_client: Client) -> None:
    def queries(model: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(f"/admin/tasks_app/{model}/").status_code == 200
        return len(captured)

    make_order(utc(2026, 1, 1))
    make_token(utc(2026, 1, 1))
    short = queries("order"), queries("authtoken")
    output_of("demo_data", "--users=20", "--tokens=60", "--orders=60")
    assert (queries("order"), queries("authtoken")) == short


def test_a_token_is_listed_without_its_key(admin_client: Client) -> None:
    token = make_token(utc(2026, 1, 1))
    page = admin_client.get("/admin/tasks_app/authtoken/").content.decode()
    assert str(token) in page
    assert token.key not in page


def test_a_token_is_found_by_its_whole_key(admin_client: Client) -> None:
    token, other = make_token(utc(2026, 1, 1)), make_token(utc(2026, 1, 1))
    page = admin_client.get(f"/admin/tasks_app/authtoken/?q={token.key}").content.decode()
    assert str(token) in page
    assert str(other) not in page
