"""The OpenAPI document of the API."""

from typing import Any

from django.http import HttpRequest

from jobledger.api import addresses
from jobledger.api.problems import CONTENT_TYPE


def document(request: HttpRequest) -> dict[str, Any]:
    """The document, with the addresses as this client sees them."""
    from jobledger.api.application import api

    found: dict[str, Any] = dict(api.get_openapi_schema(path_prefix="/"))
    base = addresses.absolute(request, "").rstrip("/")
    found["servers"] = [{"url": base}]
    for operations in found["paths"].values():
        for operation in operations.values():
            _name_problems(operation["responses"])
    return found


def _name_problems(responses: dict[Any, Any]) -> None:
    """Errors have a content type of their own, and OpenAPI names each status by a text."""
    for status in list(responses):
        answer = responses.pop(status)
        if int(status) >= 400 and "application/json" in answer.get("content", {}):
            answer = {**answer, "content": {CONTENT_TYPE: answer["content"]["application/json"]}}
        responses[str(status)] = answer
