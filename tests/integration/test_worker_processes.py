"""Jobs of all kinds, started in each of the four ways: how they end, and the state of the worker afterwards.

To audit another job, add it to ``PROBES``. A child that has to be replaced after the job says so there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.ledger import RunRow, call, output_of, release, wait_for_end, wait_for_start
from tests.integration.service import Service
from tests.integration.ways import WAYS, Call, Done
from tests.integration.worker_children import left_as_they_were, settled
from tests.shapes.table import SHAPES

ANYTHING = r"[\s\S]*"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A job, how it ends, and what it does to the child that executes it."""

    job: str
    app_label: str = "probes"
    options: Mapping[str, Any] = field(default_factory=dict)
    line: tuple[str, ...] = ()
    """The options on a command line."""
    status: str = "succeeded"
    exit_code: int | None = 0
    output: str = ""
    """A regular expression."""
    replaces_child: bool = False
    only_in_worker: bool = False
    """Whether it never ends, or ends without being recorded, in a process of its own."""

    def __str__(self) -> str:
        return " ".join([self.job, *(f"{name}={value}" for name, value in self.options.items())])


PROBES = [
    Probe(job="probe", options={"words": ["hello"]}, line=("hello",), output="hello\n"),
    Probe(
        job="probe",
        options={"crash": "on purpose"},
        line=("--crash=on purpose",),
        status="failed",
        exit_code=1,
    ),
    Probe(
        job="leaving",
        options={"settings_of_process": True},
        line=("--settings-of-process",),
        output=r"{.*}\n",
    ),
    Probe(job="plain_probe", output="plain\n"),
    Probe(job="writing", options={"child": True}, line=("--child",), output=ANYTHING),
    Probe(job="writing", output=r"self\.stdout\nprint\n[\s\S]+"),
    Probe(job="spawning", options={"methods": ["fork"]}, line=("--methods=fork",), output=r"\[.*\]\n"),
    # Multiprocessing's resource tracker goes on.
    Probe(job="spawning", options={"methods": ["spawn"]}, replaces_child=True),
    Probe(
        job="isolated",
        options={"seconds": 0, "fail": "no"},
        line=("--seconds=0", "--fail=no"),
        status="failed",
        exit_code=3,
        output=r'working on attempt 1\n(about to end\n)?{"pid": .*}\n',
    ),
    Probe(
        job="limited",
        options={"seconds": 60, "tenant": "x"},
        line=("--seconds=60", "--tenant=x"),
        status="timed_out",
        exit_code=124,
        # The limit may be over before it has printed anything.
        output=r"(working on attempt 1\n)?",
    ),
    Probe(job="parent", options={"seconds": 0}, line=("--seconds=0",), output="working on attempt 1\n"),
    Probe(
        job="asking",
        app_label="shapes",
        options={"how": "input"},
        line=("input",),
        status="failed",
        exit_code=1,
        output=r"(Who are you\? )?",
    ),
    Probe(job="asking", app_label="shapes", options={"how": "read"}, line=("read",), output="read ''\n"),
    Probe(
        job="allocating",
        options={"megabytes": 300, "in_subprocess": True, "seconds": 600},
        line=("--megabytes=300", "--in-subprocess", "--seconds=600"),
        status="failed",
        exit_code=137,
        output=r"process \d+\n",
    ),
    Probe(job="spawning", options={"kinds": ["orphan"]}, line=("--kinds=orphan",), replaces_child=True),
    Probe(job="unclean", options={"way": "settings"}, line=("--way=settings",)),
    Probe(job="unclean", options={"way": "standard-descriptors"}, line=("--way=standard-descriptors",)),
    Probe(job="unclean", options={"way": "session"}, line=("--way=session",), replaces_child=True),
    Probe(
        job="unclean", options={"way": "process-group"}, line=("--way=process-group",), replaces_child=True
    ),
    Probe(
        job="unclean",
        options={"way": "signal-to-group"},
        status="failed",
        exit_code=143,
        replaces_child=True,
        only_in_worker=True,
    ),
    Probe(job="unclean", options={"way": "event-loop"}, line=("--way=event-loop",), replaces_child=True),
    Probe(job="unclean", options={"way": "thread"}, replaces_child=True, only_in_worker=True),
    Probe(
        job="unclean",
        options={"way": "all-descriptors"},
        line=("--way=all-descriptors",),
        replaces_child=True,
    ),
    Probe(
        job="unclean",
        options={"way": "exit"},
        replaces_child=True,
        only_in_worker=True,
    ),
    Probe(
        job="unclean",
        options={"way": "powers"},
        replaces_child=True,
        only_in_worker=True,
    ),
]


_warmed: set[int] = set()


@pytest.fixture
def warm(running: Service) -> Service:
    """The service, each of whose children has executed a job: its modules are imported, it is connected.

    The tests run in any order, and some of them have children replaced.
    """
    if not _warmed.issuperset(settled(running)):
        count = int(running.variables["WORKER_CONCURRENCY"])
        runs = [call(running, "allowing", seconds=60) for _ in range(count)]
        for pk in runs:
            wait_for_start(running, pk)
        release(running, *runs)
        _warmed.update(settled(running))
    return running


# Without runs of the job probe that would overlap, and without processes that import everything again.
NOT_IN_BATCH = ({"words": ["hello"]}, {"child": True}, {"methods": ["spawn"]})
BATCH = [probe for probe in PROBES if probe.options not in NOT_IN_BATCH]
SHAPE_PROBES = [
    Probe(
        job=shape.job,
        app_label="shapes",
        options=shape.options,
        line=shape.line,
        output=re.escape(shape.output),
    )
    for shape in SHAPES
]


@pytest.mark.parametrize("way", WAYS)
def test_jobs_of_all_kinds_run_in_each_way_and_leave_the_workers_processes_as_they_were(
    warm: Service, way: str
) -> None:
    probes = [*(probe for probe in BATCH if not probe.replaces_child), *SHAPE_PROBES]
    with left_as_they_were(warm):
        check(warm, probes, start(warm, way, probes), way)


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_each_job_leaves_the_workers_processes_as_they_were(warm: Service, probe: Probe) -> None:
    with left_as_they_were(warm) as replaced:
        row = wait_for_end(warm, call(warm, probe.job, app_label=probe.app_label, **probe.options))
        assert (row.status, row.error if probe.status == "succeeded" else "") == (probe.status, "")
        replaced.update([process_of(row)] if probe.replaces_child else [])


@pytest.mark.parametrize("way", WAYS)
def test_children_that_a_job_has_made_unusable_are_replaced_in_each_way(warm: Service, way: str) -> None:
    is_cli = way == "cli"
    probes = [probe for probe in BATCH if probe.replaces_child and not (is_cli and probe.only_in_worker)]
    with left_as_they_were(warm) as replaced:
        done = start(warm, way, probes)
        check(warm, probes, done, way)
        replaced.update([] if is_cli else [process_of(each.row) for each in done])


def start(running: Service, way: str, probes: Sequence[Probe]) -> list[Done]:
    """Start all of them at once, and wait."""
    return WAYS[way](
        running,
        [
            Call(job=each.job, app_label=each.app_label, options=each.options, line=each.line)
            for each in probes
        ],
    )


def check(running: Service, probes: Sequence[Probe], done: Sequence[Done], way: str) -> None:
    """Compare what is on record, and what the command line has printed, with what is expected."""
    expected: dict[str, tuple[Any, ...]] = {}
    found: dict[str, tuple[Any, ...]] = {}
    for probe, each in zip(probes, done, strict=True):
        expected[str(probe)] = (way, probe.status, probe.exit_code, "", [], probe.exit_code)
        row, printed = each.row, each.printed
        texts = [output_of(running, row.pk), *([printed.stdout] if printed else [])]
        found[str(probe)] = (
            row.trigger,
            row.status,
            row.exit_code,
            row.error if probe.status == "succeeded" else "",
            [text for text in texts if not re.fullmatch(probe.output, text)],
            printed.exit_code if printed else probe.exit_code,
        )
    assert found == expected


def process_of(row: RunRow) -> int:
    """The child that has executed the run."""
    return int(row.worker.rpartition(":")[2])
