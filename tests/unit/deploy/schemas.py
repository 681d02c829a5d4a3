"""What KEDA 2 and Kustomize accept, of what the manifests may use: Kubernetes' own schemas do not have it.

From the custom resource definitions ``scaledobjects`` and ``triggerauthentications``, the parameters of the
triggers ``postgresql`` and ``prometheus``, and the fields of a Kustomization. ``!`` marks what is required.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ByType:
    """An object whose field ``type`` says which other fields it has."""

    schemas: Mapping[str, dict[str, Any]]


Schema = type | list[Any] | dict[str, Any] | ByType

_POSTGRESQL = {
    "query!": str,
    "targetQueryValue!": str,
    **dict.fromkeys(("activationTargetQueryValue", "connectionFromEnv", "passwordFromEnv"), str),
    **dict.fromkeys(("host", "port", "userName", "dbName", "sslmode"), str),
}
_PROMETHEUS = {
    "serverAddress!": str,
    "query!": str,
    "threshold!": str,
    **dict.fromkeys(("activationThreshold", "ignoreNullValues", "namespace", "timeout"), str),
    **dict.fromkeys(("authModes", "customHeaders", "queryParameters", "unsafeSsl"), str),
}
_TRIGGER = {
    "type!": str,
    "name": str,
    "authenticationRef": {"name!": str, "kind": str},
    "metricType": str,
    "useCachedMetrics": bool,
}
_IN_A_SECRET = {"parameter!": str, "name!": str, "key!": str}
_COUNTS = ("minReplicaCount", "maxReplicaCount", "idleReplicaCount")
_SECONDS = ("pollingInterval", "cooldownPeriod", "initialCooldownPeriod")

SCHEMAS: dict[str, dict[str, Any]] = {
    "ScaledObject": {
        "spec!": {
            "scaleTargetRef!": {"name!": str, "kind": str, "apiVersion": str, "envSourceContainerName": str},
            **dict.fromkeys((*_COUNTS, *_SECONDS), int),
            "fallback": {"failureThreshold!": int, "replicas!": int, "behavior": str},
            "advanced": {
                "restoreToOriginalReplicaCount": bool,
                # The behavior is Kubernetes' own.
                "horizontalPodAutoscalerConfig": {"name": str, "behavior": dict},
            },
            "triggers!": [
                ByType(
                    {
                        "postgresql": {**_TRIGGER, "metadata!": _POSTGRESQL},
                        "prometheus": {**_TRIGGER, "metadata!": _PROMETHEUS},
                    }
                )
            ],
        }
    },
    "TriggerAuthentication": {
        "spec!": {"secretTargetRef": [_IN_A_SECRET], "configMapTargetRef": [_IN_A_SECRET]}
    },
    "Kustomization": {
        "resources": [str],
        "namespace": str,
        "images": [{"name!": str, "newName": str, "newTag": str, "digest": str}],
    },
}
_OF_EVERY_OBJECT = {"apiVersion!": str, "kind!": str, "metadata": dict}


def problems(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with an object of KEDA or of Kustomize."""
    return list(_problems(manifest, _OF_EVERY_OBJECT | SCHEMAS[manifest["kind"]], manifest["kind"]))


def _problems(value: Any, schema: Schema, where: str) -> Iterator[str]:
    # Not isinstance: True is an int, too.
    match schema, value:
        case [each], list():
            for number, item in enumerate(value):
                yield from _problems(item, each, f"{where}[{number}]")
        case ByType(), {"type": str(name)} if name in schema.schemas:
            yield from _problems(value, schema.schemas[name], where)
        case ByType(), _:
            yield f"{where} has none of the types {', '.join(schema.schemas)}"
        case dict(), dict():
            yield from _problems_of_fields(value, schema, where)
        case type(), _ if type(value) is schema:
            pass
        case _:
            expected = schema if isinstance(schema, type) else type(schema)
            yield f"{where} is {value!r}, not {expected.__name__}"


def _problems_of_fields(value: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    known = {name.removesuffix("!"): each for name, each in schema.items()}
    yield from (f"{where} has an unknown field {name}" for name in value if name not in known)
    yield from (f"{where} lacks {name[:-1]}" for name in schema if name[-1] == "!" and name[:-1] not in value)
    for name, each in value.items():
        if name in known:
            yield from _problems(each, known[name], f"{where}.{name}")
