"""The client's address, even behind proxies; failed logins are counted by it.

Each proxy appends the address of its own client to ``X-Forwarded-For``. Clients can send the header
themselves, so only the part written by ``TRUSTED_PROXIES`` is trusted: from its end to the first address
that is not a proxy's.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

Network = IPv4Network | IPv6Network

_OF_ONE_CLIENT = 64
"""The bits of an IPv6 address that a client cannot choose."""


def client_address(request: HttpRequest) -> str | None:
    """The client's address, for django-axes; for IPv6, its network. None if it is unknown."""
    trusted: Sequence[Network] = settings.TRUSTED_PROXIES
    # A proxy on this machine may use a Unix socket, which has no address.
    address = _parsed(request.META.get("REMOTE_ADDR", ""))
    for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        if not trusted or (address and not any(address in network for network in trusted)):
            break
        if (before := _parsed(hop)) is None:
            break
        address = before
    return str(_of_client(address)) if address else None


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _of_client(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    return IPv6Network((int(address), _OF_ONE_CLIENT), strict=False).network_address
