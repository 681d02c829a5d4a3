"""A program that uses the API, and the tokens that it needs."""

import itertools
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client

from jobledger.admin.tokens import changes as tokens
from jobledger.jobs import registry
from jobledger.models import Scope

_numbers = itertools.count(1)


def make_owner(permissions: Iterable[str] = (), *, is_superuser: bool = False) -> User:
    """A user of the admin with these permissions."""
    owner = User.objects.create(username=f"ann-{next(_numbers)}", is_staff=True, is_superuser=is_superuser)
    for name in permissions:
        app, _, codename = name.partition(".")
        owner.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return owner


class ApiClient:
    """Sends a token, whose owner is a superuser if there is no other."""

    def __init__(
        self, owner: User | None = None, *, scope: Scope = Scope.FULL, name: str = "ci", **more: Any
    ) -> None:
        self.owner = owner or make_owner(is_superuser=True)
        created = tokens.create(
            self.owner,
            author=self.owner,
            name=name,
            scope=scope,
            lifetime=timedelta(days=1),
            **more,
        )
        self.token, self.text = created.token, created.text
        self.client = Client()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """A request with a JSON body, if any."""
        given = {"Authorization": f"Bearer {self.text}", **headers}
        # Django's client would send a form that is empty, but not without a body.
        has_content = body is not None or method in ("post", "put")
        content = {"data": "" if body is None else body, "content_type": "application/json"}
        response: Any = getattr(self.client, method)(
            f"/api/v1/{path}", headers=given, **(content if has_content else {})
        )
        return response  # type: ignore[no-any-return]

    def get(self, path: str) -> Any:
        """The content of a successful answer."""
        response = self.send("get", path)
        assert response.status_code == 200, response.content
        return response.json()  # type: ignore[attr-defined]

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        response = self.send("post", path, {} if body is None else body, **headers)
        assert response.status_code in (200, 201), response.content
        return response.json()  # type: ignore[attr-defined]


def start_client(job: str, options: dict[str, Any] | None = None) -> ApiClient:
    """Has a token that can do nothing but start the job."""
    return ApiClient(scope=Scope.START, job=registry.all_jobs()[job], options=options)


def problem_of(response: HttpResponse, status: int) -> Any:
    """The problem that an answer describes."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    found = response.json()  # type: ignore[attr-defined]
    assert found["status"] == status
    return found
