"""What an address asks of the list of schedules, also when no schedule has it."""

import pytest
from django.test import Client
from django.urls import reverse

from tests.unit.jobledger.admin.schedules.schedules import LIST
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("job", "found"), [("probes.probe", ["mine"]), ("gone", []), ("pro\x00be", []), ("", ["mine"])]
)
def test_a_job_that_nothing_starts_finds_nothing(admin_client: Client, job: str, found: list[str]) -> None:
    hourly("mine")
    answer = admin_client.get(reverse(LIST), {"job": job})
    assert [schedule.name for schedule in answer.context["cl"].result_list] == found


def test_an_index_of_an_action_that_is_no_number_is_none(admin_client: Client) -> None:
    answer = admin_client.post(reverse(LIST), {"action": "", "index": "9" * 5000})
    assert answer.status_code == 302
