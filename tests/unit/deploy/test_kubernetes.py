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
from jobledger.metrics import gauges, totals
from jobledger.models import Reason, Run, Status, Trigger
from tests.manual import ROOT
from tests.unit.deploy.schemas import SCHEMAS, problems

MANIFESTS = ROOT / "deploy" / "kubernetes"
# The oldest that is still maintained by somebody, and the newest that is known.
SCALING = {
    "autoscaling.yaml": "worker.yaml",
    "autoscaling-reports.yaml": "worker-reports.yaml",
    "autoscaling-prometheus.yaml": "worker-reports.yaml",
}
"""What scales which Deployment."""
VERSIONS = ["1.29", kubernetes_validate.latest_version()]

Object = dict[str, Any]


def objects(file: str = "*.yaml") -> Iterator[Object]:
    for path in sorted(MANIFESTS.glob(file)):
        yield from yaml.safe_load_all(path.read_text())


def pods(file: str = "*.yaml") -> Iterator[Object]:
    for each in objects(file):
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]


def containers(file: str = "*.yaml") -> Iterator[Object]:
    for pod in pods(file):
        yield from [*pod.get("initContainers", []), *pod["containers"]]


def the_scaled_object(file: str = "autoscaling.yaml") -> Object:
    (found,) = (each for each in objects(file) if each["kind"] == "ScaledObject")
    return found


def the_deployment(file: str) -> Object:
    (found,) = (each for each in objects(file) if each["kind"] == "Deployment")
    return found


def the_container(name: str) -> Object:
    return next(container for container in containers(f"{name}.yaml") if container["name"] == name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest", list(objects()), ids=lambda each: f"{each['kind']} in {each['apiVersion']}"
)
def test_kubernetes_knows_every_field(manifest: Object, version: str) -> None:
    if manifest["kind"] not in SCHEMAS:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("file", SCALING)
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_how_keda_scales(version: str, file: str) -> None:
    scaled = the_scaled_object(file)
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
        (
            lambda spec: spec["triggers"][0].update(type="redis"),
            "ScaledObject.spec.triggers[0] has none of the types postgresql, prometheus",
        ),
        (
            lambda spec: spec["triggers"][0].update(type="prometheus", metadata={"query": "up"}),
            "ScaledObject.spec.triggers[0].metadata lacks serverAddress",
        ),
    ],
)
def test_a_mistake_in_what_keda_reads_is_found(change: Callable[[Object], None], problem: str) -> None:
    scaled = the_scaled_object()
    change(scaled["spec"])
    assert problems(scaled)[:1] == [problem]


def test_keda_connects_to_the_database_of_the_secret() -> None:
    (authentication,) = (each for each in objects() if each["kind"] == "TriggerAuthentication")
    (secret,) = objects("secrets.example.yaml")
    (reference,) = authentication["spec"]["secretTargetRef"]
    assert (reference["name"], reference["parameter"]) == (secret["metadata"]["name"], "connection")
    assert reference["key"] in secret["stringData"]
    for file in "autoscaling.yaml", "autoscaling-reports.yaml":
        (trigger,) = the_scaled_object(file)["spec"]["triggers"]
        assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}


def test_everything_is_applied_except_what_is_an_example_or_needs_more() -> None:
    (kustomization,) = objects("kustomization.yaml")
    apart = {"kustomization.yaml", "secrets.example.yaml", "worker-reports.yaml", *SCALING}
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
    workers = [pod for pod in pods() if pod["containers"][0]["name"] == "worker"]
    grace = float(settings["SHUTDOWN_GRACE_SECONDS"])
    assert grace == conf.Settings().SHUTDOWN_GRACE_SECONDS
    assert [each["terminationGracePeriodSeconds"] for each in workers] == [grace + 60] * 2


def test_the_worker_of_a_queue_is_a_worker_with_its_own_name_that_reads_only_that() -> None:
    usual, own = the_deployment("worker.yaml"), the_deployment("worker-reports.yaml")
    command = own["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-2:] == ["--queues", "reports"]
    del command[-2:]
    assert own == renamed(usual, to="reports")


def renamed(deployment: Object, *, to: str) -> Object:
    """The same with another name, and other labels for its pods."""
    text = yaml.safe_dump(deployment).replace("component: worker", f"component: worker-{to}")
    changed: Object = yaml.safe_load(text)
    changed["metadata"]["name"] += f"-{to}"
    return changed


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


IN_WORKER = {"status": Status.RUNNING, "worker": "celery@host:7"}
NEED_A_WORKER: list[dict[str, Any]] = [
    IN_WORKER,
    {"status": Status.QUEUED},
    {"status": Status.QUEUED, "start_after": -timedelta(minutes=1)},
    # It no longer waits for the other run.
    {"status": Status.QUEUED, "concurrency_key": "probe"},
]
NEED_NONE: list[dict[str, Any]] = [
    {"status": Status.RUNNING, "worker": "host:7", "trigger": Trigger.CLI},
    {"status": Status.RUNNING, "worker": "host:7", "trigger": Trigger.JOB},
    {"status": Status.RUNNING, "trigger": Trigger.CRON},
    {"status": Status.QUEUED, "start_after": timedelta(minutes=1)},
    {"status": Status.QUEUED, "start_before": -timedelta(minutes=1)},
    {"status": Status.QUEUED, "concurrency_key": "probe", "reason": Reason.OVERLAP},
    {**IN_WORKER, "status": Status.SUCCEEDED},
]


def create_runs(rows: list[dict[str, Any]], **more: Any) -> None:
    now = timezone.now()
    for row in rows:
        values = {"job": "probe", "queued_at": now, "trigger": Trigger.SCHEDULE, **row, **more}
        times = {name: now + value for name, value in values.items() if isinstance(value, timedelta)}
        Run.objects.create(**{**values, **times})


def asked_of_the_database(file: str) -> int:
    (trigger,) = the_scaled_object(file)["spec"]["triggers"]
    with connection.cursor() as cursor:
        cursor.execute(trigger["metadata"]["query"])
        (count,) = cursor.fetchone()
    return int(count)


@pytest.mark.django_db
def test_workers_are_scaled_by_the_runs_of_their_queue_that_need_one() -> None:
    create_runs([*NEED_A_WORKER, *NEED_NONE])
    create_runs([*NEED_A_WORKER, *NEED_A_WORKER, *NEED_NONE], routing={"queue": "reports", "priority": 3})
    create_runs(NEED_A_WORKER, routing={"queue": "others"})
    assert asked_of_the_database("autoscaling.yaml") == len(NEED_A_WORKER)
    assert asked_of_the_database("autoscaling-reports.yaml") == 2 * len(NEED_A_WORKER)


@pytest.mark.django_db
def test_prometheus_is_asked_for_the_same_number_as_the_database() -> None:
    """Of the runs of a job of this project, since a metric does not know the queues of others."""
    create_runs([*NEED_A_WORKER, *NEED_NONE], routing={"queue": "reports"})
    (trigger,) = the_scaled_object("autoscaling-prometheus.yaml")["spec"]["triggers"]
    names = re.fullmatch(
        r'max\((\w+)\{queue="reports"\} \+ (\w+)\{queue="reports"\}\)', trigger["metadata"]["query"].strip()
    )
    assert names
    samples = gauges.read(timezone.now(), totals.names({}))
    found = {each.metric.exposed_name: each.value for each in samples if each.labels == ("reports",)}
    assert sum(found[name] for name in names.groups()) == asked_of_the_database("autoscaling-reports.yaml")


@pytest.mark.parametrize("file", SCALING)
def test_each_worker_is_scaled_to_what_it_executes_at_a_time_and_never_to_none(file: str) -> None:
    scaled = the_scaled_object(file)["spec"]
    (trigger,) = scaled["triggers"]
    settings = next(each for each in objects() if each["kind"] == "ConfigMap")["data"]
    target = trigger["metadata"].get("targetQueryValue") or trigger["metadata"]["threshold"]
    assert target == settings["WORKER_CONCURRENCY"]
    assert scaled["scaleTargetRef"] == {"name": the_deployment(SCALING[file])["metadata"]["name"]}
    # Of a queue that nobody reads, the admin's home warns.
    assert scaled["minReplicaCount"] >= 1
