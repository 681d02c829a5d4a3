"""Addresses of the API and of what it is about."""

from urllib.parse import quote

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

VERSION = "v1"


def is_on() -> bool:
    """Whether the project includes the API's URLs."""
    return bool(endpoint(""))


def endpoint(path: str) -> str:
    """The path of an endpoint, such as ``jobs/hello``; empty if the API is off."""
    try:
        return reverse("jobledger_api:endpoint", kwargs={"path": f"{VERSION}/"}) + quote(path)
    except NoReverseMatch:
        return ""


def absolute(request: HttpRequest, path: str) -> str:
    """The whole URL of an endpoint, as the client can reach it."""
    return request.build_absolute_uri(endpoint(path))
