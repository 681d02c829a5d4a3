"""The OpenAPI document of the API."""

from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest
from ninja import NinjaAPI

from jobledger.api import addresses, schemas
from jobledger.api.problems import CONTENT_TYPE


def document(api: NinjaAPI, request: HttpRequest) -> dict[str, Any]:
    """The document, with the addresses as this client sees them."""
    found: dict[str, Any] = dict(api.get_openapi_schema(path_prefix="/"))
    base = addresses.absolute(request, "").rstrip("/")
    found["servers"] = [{"url": base}]
    for operations in found["paths"].values():
        for operation in operations.values():
            _name_problems(operation["responses"])
            operation["responses"].update(_problems_of_all(has_body="requestBody" in operation))
    return found


@cache
def query_parameters(api: NinjaAPI) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """The names of the parameters in the URL, by any operation of the path, and the method."""
    found = {}
    for operations in api.get_openapi_schema(path_prefix="/")["paths"].values():
        names = {method.upper(): _query_of(operation) for method, operation in operations.items()}
        found.update({operation["operationId"]: names for operation in operations.values()})
    return found


def _query_of(operation: Mapping[str, Any]) -> Sequence[str]:
    return [each["name"] for each in operation["parameters"] if each["in"] == "query"]


def _problems_of_all(*, has_body: bool) -> dict[str, Any]:
    """What may happen before the endpoint is called, or whatever it does."""
    statuses = [HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE]
    if has_body:
        statuses += [HTTPStatus.LENGTH_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]
    found = {str(status.value): _problem(status.phrase) for status in sorted(statuses)}
    # Such as that of another method.
    return {**found, "default": _problem("Any other error")}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{schemas.Problem.__name__}"}
    return {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}}


def _name_problems(responses: dict[Any, Any]) -> None:
    """Errors have a content type of their own, and OpenAPI names each status by a text."""
    for status in list(responses):
        answer = responses.pop(status)
        if int(status) >= 400 and "application/json" in answer.get("content", {}):
            answer = {**answer, "content": {CONTENT_TYPE: answer["content"]["application/json"]}}
        responses[str(status)] = answer
