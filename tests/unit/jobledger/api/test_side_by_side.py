"""Requests that arrive at the same time."""

from collections import Counter
from pathlib import Path

import pytest

from jobledger.models import AuditEntry, Run
from tests.unit.jobledger.api.client import ApiClient
from tests.unit.side_by_side import side_by_side


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_the_same_request_at_the_same_time_starts_one_run(tmp_path: Path) -> None:
    client, statuses = ApiClient(), Counter[int]()

    def send() -> None:
        key = {"Idempotency-Key": "build-17"}
        response = client.send("post", "jobs/hello/runs", {}, **key)
        statuses[response.status_code] += 1

    with side_by_side(tmp_path) as database:
        database.call([send] * 4)
        assert statuses == {201: 1, 200: 3}
        assert Run.objects.count() == 1
        assert AuditEntry.objects.filter(object_type="jobledger.run").count() == 1
        client.token.refresh_from_db()
        assert client.token.requests in range(1, 5)
