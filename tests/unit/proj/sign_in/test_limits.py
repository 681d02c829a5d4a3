"""Failed logins are limited per username and address, per address, and per username."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def limits(settings: Any) -> None:
    settings.LOGIN_ADDRESS_LIMIT, settings.LOGIN_NAME_LIMIT = 8, 12
    User.objects.create_superuser("ann", password="right")


def status_of_login(client: Client, name: str, password: str, address: str, **headers: str) -> int:
    data = {"username": name, "password": password}
    return client.post(LOGIN, data, REMOTE_ADDR=address, headers=headers).status_code


def test_trying_one_password_with_many_usernames_locks_the_address(client: Client) -> None:
    given = [status_of_login(client, f"user-{number}", "summer", "192.0.2.1") for number in range(8)]
    assert given == [200] * 7 + [429]
    assert status_of_login(client, "ann", "right", "192.0.2.1") == 429
    assert status_of_login(client, "ann", "right", "192.0.2.2") == 302


def test_trying_one_username_from_many_addresses_locks_it(client: Client) -> None:
    given = [status_of_login(client, "ann", "guess", f"192.0.2.{number}") for number in range(12)]
    assert given == [200] * 11 + [429]
    assert status_of_login(client, "ann", "right", "192.0.2.99") == 429


def test_fewer_failures_lock_nothing(client: Client) -> None:
    for number in range(7):
        status_of_login(client, f"user-{number}", "summer", "192.0.2.1")
    assert status_of_login(client, "ann", "right", "192.0.2.1") == 302


def test_a_login_that_succeeds_does_not_reset_the_failures_of_its_address(client: Client) -> None:
    for number in range(7):
        status_of_login(client, f"user-{number}", "summer", "192.0.2.1")
    assert status_of_login(client, "ann", "right", "192.0.2.1") == 302
    status_of_login(Client(), "user-7", "summer", "192.0.2.1")
    assert status_of_login(Client(), "ann", "right", "192.0.2.1") == 429


def test_behind_a_trusted_proxy_clients_are_counted_separately(client: Client, settings: Any) -> None:
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    for _ in range(9):
        status_of_login(client, "ann", "guess", "10.0.0.1", **{"X-Forwarded-For": "192.0.2.1"})
    locked = status_of_login(client, "ann", "right", "10.0.0.1", **{"X-Forwarded-For": "192.0.2.1"})
    other = status_of_login(client, "ann", "right", "10.0.0.1", **{"X-Forwarded-For": "192.0.2.2"})
    assert (locked, other) == (429, 302)
