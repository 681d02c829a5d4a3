"""The manifests are valid, restricted, and agree with the image, the settings and the Compose file."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.db import connection
from django.urls import resolve
from django.utils import timezone

from jobledger import conf
from jobledger.models import Run, Status, Trigger
from tests.manual import ROOT
from tests.unit.deploy.schemas import SCHEMAS, problems

MANIFESTS = ROOT / "deploy" / "kubernetes"
# The oldest that is still maintained by somebody, and the newest that is known.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]

Object = dict[str, Any]


def objects(file: str = "*.yaml") -> Iterator[Object]:
    for path in sorted(MANIFESTS.glob(file)):
        yield from yaml.safe_load_all(path.read_text())


def pods() -> Iterator[Object]:
    for each in objects():
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]


def containers() -> Iterator[Object]:
    for pod in pods():
        yield from [*pod.get("initContainers", []), *pod["containers"]]


def the_scaled_object() -> Object:
    return next(each for each in objects() if each["kind"] == "ScaledObject")


def the_container(name: str) -> Object:
    return next(container for container in containers() if container["name"] == name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest", list(objects()), ids=lambda each: f"{each['kind']} in {each['apiVersion']}"
)
def test_kubernetes_knows_every_field(manifest: Object, version: str) -> None:
    if manifest["kind"] not in SCHEMAS:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_how_keda_scales(version: str) -> None:
    scaled = the_scaled_object()
    kubernetes_validate.validate(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": scaled["metadata"],
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment"}
                | scaled["spec"]["scaleTargetRef"],
                "maxReplicas": scaled["spec"]["maxReplicaCount"],
                **scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"],
            },
        },
        version,
        strict=True,
    )


def test_keda_and_kustomize_know_every_field() -> None:
    of_others = [each for each in objects() if each["kind"] in SCHEMAS]
    assert {each["kind"] for each in of_others} == set(SCHEMAS)
    assert [problem for each in of_others for problem in problems(each)] == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda spec: spec.update(minReplicas=1), "ScaledObject.spec has an unknown field minReplicas"),
        (lambda spec: spec.update(minReplicaCount="1"), "ScaledObject.spec.minReplicaCount is '1', not int"),
        (lambda spec: spec.pop("scaleTargetRef"), "ScaledObject.spec lacks scaleTargetRef"),
        (
            lambda spec: spec["triggers"][0]["metadata"].update(targetQueryValue=4),
            "ScaledObject.spec.triggers[0].metadata.targetQueryValue is 4, not str",
        ),
    ],
)
def test_a_mistake_in_what_keda_reads_is_found(change: Callable[[Object], None], problem: str) -> None:
    scaled = the_scaled_object()
    change(scaled["spec"])
    assert problems(scaled) == [problem]


def test_keda_connects_to_the_database_of_the_secret() -> None:
    (authentication,) = (each for each in objects() if each["kind"] == "TriggerAuthentication")
    (secret,) = objects("secrets.example.yaml")
    (reference,) = authentication["spec"]["secretTargetRef"]
    assert (reference["name"], reference["parameter"]) == (secret["metadata"]["name"], "connection")
    assert reference["key"] in secret["stringData"]
    (trigger,) = the_scaled_object()["spec"]["triggers"]
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}


def test_everything_is_applied_except_what_is_an_example_or_needs_more() -> None:
    (kustomization,) = objects("kustomization.yaml")
    apart = {"kustomization.yaml", "secrets.example.yaml", "autoscaling.yaml"}
    assert set(kustomization["resources"]) == {path.name for path in MANIFESTS.glob("*")} - apart
    assert {container["image"] for container in containers()} == {kustomization["images"][0]["name"]}


def test_every_pod_may_run_in_a_restricted_namespace() -> None:
    for pod in pods():
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert pod["automountServiceAccountToken"] is False
        # Otherwise, a service named redis would set REDIS_PORT, for example.
        assert pod["enableServiceLinks"] is False
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_every_container_reads_the_same_settings_and_secrets() -> None:
    (secret,) = objects("secrets.example.yaml")
    described = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    settings = next(each for each in objects() if each["kind"] == "ConfigMap")
    assert set(settings["data"]) <= set(described)
    for container in containers():
        assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]
        values = {each["name"]: each["value"] for each in container["env"]}
        files = {name.removesuffix("_FILE"): value for name, value in values.items() if "_FILE" in name}
        assert {*files, "HEALTH_DIR"} <= set(described)
        assert files == {name.upper(): f"/secrets/{name}" for name in secret["stringData"]}
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        assert mounts == {"/secrets": "secrets", values["HEALTH_DIR"]: "tmp"}
    for pod in pods():
        (secrets, tmp) = pod["volumes"]
        assert secrets["secret"] == {"secretName": secret["metadata"]["name"], "defaultMode": 0o444}
        assert (secrets["name"], tmp["name"], "emptyDir" in tmp) == ("secrets", "tmp", True)


def test_the_same_is_started_as_with_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert "command" not in the_container("web")  # the image's
    assert the_container("worker")["command"] == compose["worker"]["command"]
    assert the_container("beat")["command"] == [*compose["beat"]["command"], "--pidfile="]
    assert the_container("setup")["command"] == compose["init"]["command"][:4]


def test_a_stopping_worker_has_a_minute_after_it_has_cancelled_its_runs() -> None:
    settings = next(each for each in objects() if each["kind"] == "ConfigMap")["data"]
    (worker,) = (pod for pod in pods() if pod["containers"][0]["name"] == "worker")
    grace = float(settings["SHUTDOWN_GRACE_SECONDS"])
    assert grace == conf.Settings().SHUTDOWN_GRACE_SECONDS
    assert worker["terminationGracePeriodSeconds"] == grace + 60


def test_the_web_servers_probes_ask_for_what_there_is() -> None:
    web = the_container("web")
    asked = {name: web[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert {name: resolve(probe["path"]).url_name for name, probe in asked.items()} == {
        "livenessProbe": "alive",
        "readinessProbe": "liveness",
    }
    settings = next(each for each in objects() if each["kind"] == "ConfigMap")["data"]
    for probe in asked.values():
        (header,) = probe["httpHeaders"]
        assert header["value"] in settings["ALLOWED_HOSTS"].split(",")
        assert probe["port"] == web["ports"][0]["name"]


@pytest.mark.parametrize("name", ["worker", "beat"])
@pytest.mark.parametrize(
    ("age", "is_ready", "is_alive"),
    [
        (None, False, True),  # it has only just been started
        (timedelta(seconds=5), True, True),
        (timedelta(minutes=2), False, True),
        (timedelta(minutes=20), False, False),
    ],
)
def test_a_probe_reads_the_age_of_the_health_file(
    tmp_path: Path, name: str, age: timedelta | None, is_ready: bool, is_alive: bool
) -> None:
    if age is not None:
        touched_at = time.time() - age.total_seconds()
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (touched_at, touched_at))
    container = the_container(name)
    succeeds = {}
    for probe in ("readinessProbe", "livenessProbe"):
        command = [word.replace("/tmp/", f"{tmp_path}/") for word in container[probe]["exec"]["command"]]
        assert str(tmp_path / name) in command[-1]
        succeeds[probe] = subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert succeeds == {"readinessProbe": is_ready, "livenessProbe": is_alive}


@pytest.mark.django_db
def test_workers_are_scaled_by_the_runs_that_need_one() -> None:
    scaled = the_scaled_object()
    (trigger,) = scaled["spec"]["triggers"]
    now = timezone.now()
    job: dict[str, Any] = {"job": "probe", "queued_at": now, "trigger": Trigger.SCHEDULE}
    need_a_worker: list[dict[str, Any]] = [
        {"status": Status.RUNNING},
        {"status": Status.QUEUED},
        {"status": Status.QUEUED, "start_after": now - timedelta(minutes=1)},
    ]
    need_none: list[dict[str, Any]] = [
        {"status": Status.RUNNING, "trigger": Trigger.CLI},
        {"status": Status.QUEUED, "start_after": now + timedelta(minutes=1)},
        {"status": Status.QUEUED, "concurrency_key": "waits for another run"},
        {"status": Status.SUCCEEDED},
    ]
    for values in (*need_a_worker, *need_none):
        Run.objects.create(**{**job, **values})
    with connection.cursor() as cursor:
        cursor.execute(trigger["metadata"]["query"])
        assert cursor.fetchone() == (len(need_a_worker),)
    settings = next(each for each in objects() if each["kind"] == "ConfigMap")["data"]
    assert trigger["metadata"]["targetQueryValue"] == settings["WORKER_CONCURRENCY"]
    workers = next(each for each in objects("worker.yaml") if each["kind"] == "Deployment")
    assert scaled["spec"]["scaleTargetRef"] == {"name": workers["metadata"]["name"]}
