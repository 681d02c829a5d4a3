"""Only the part of a chain of addresses that trusted proxies wrote is trusted."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import RequestFactory

from proj.sign_in.client_address import client_address

PROXIES = "10.0.0.0/8,2001:db8:f::/48"


def seen(remote: str, forwarded: str | None = None) -> str | None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers))


@pytest.fixture
def behind_proxies(settings: Any) -> None:
    settings.TRUSTED_PROXIES = [ip_network(each) for each in PROXIES.split(",")]


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert seen("10.0.0.1", "192.0.2.1") == "10.0.0.1"


@pytest.mark.usefixtures("behind_proxies")
@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.1", "192.0.2.1"),  # the client sent the first itself
        ("10.0.0.1", "192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1"),  # a chain of proxies
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),  # past the proxy
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, <script>", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.9", "10.0.0.9"),
        ("2001:db8:f::1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("", "192.0.2.1", "192.0.2.1"),  # a proxy at a socket
    ],
)
def test_behind_proxies_it_is_the_last_address_that_is_not_a_proxy(
    remote: str, forwarded: str | None, expected: str
) -> None:
    assert seen(remote, forwarded) == expected


def test_an_ipv6_client_is_identified_by_its_network() -> None:
    assert seen("2001:db8:1:2:3:4:5:6") == seen("2001:db8:1:2::1") == "2001:db8:1:2::"


@pytest.mark.parametrize("remote", ["", "nonsense"])
def test_there_may_be_no_address(remote: str) -> None:
    assert seen(remote) is None
