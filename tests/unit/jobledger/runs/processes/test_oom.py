"""The kernel's kills for want of memory are read from the process's control group."""

from pathlib import Path

import pytest

from jobledger.runs.processes import oom
from jobledger.runs.processes.oom import KillCounter

V2, V1 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\n", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


class ControlGroups:
    """The files of control groups, in a directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        monkeypatch.setattr(oom, "MEMBERSHIP", directory / "membership")
        monkeypatch.setattr(oom, "CONTROL_GROUPS", directory / "groups")

    def join(self, *lines: str) -> None:
        (self._directory / "membership").write_text("".join(f"{line}\n" for line in lines))

    def count(self, path: str, kills: int, text: str = V2) -> None:
        file = self._directory / "groups" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(kills))


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlGroups:
    return ControlGroups(tmp_path, monkeypatch)


def test_the_counter_of_a_container_is_at_the_root(groups: ControlGroups) -> None:
    groups.join("0::/")
    groups.count("memory.events", 7)
    assert oom.kills() == 7


def test_the_counter_of_a_service_is_in_its_own_group(groups: ControlGroups) -> None:
    groups.join("0::/system.slice/worker.service")
    groups.count("system.slice/worker.service/memory.events", 4)
    groups.count("memory.events", 9)
    assert oom.kills() == 4


def test_version_1_of_control_groups_has_a_hierarchy_for_memory(groups: ControlGroups) -> None:
    groups.join("12:cpu,cpuacct:/docker/ab12", "4:memory:/docker/ab12", "0::/")
    groups.count("memory/docker/ab12/memory.oom_control", 2, V1)
    assert oom.kills() == 2


def test_in_a_container_version_1_is_mounted_at_its_own_group(groups: ControlGroups) -> None:
    groups.join("4:memory:/docker/ab12")
    groups.count("memory/memory.oom_control", 3, V1)
    assert oom.kills() == 3


def test_without_control_groups_nothing_is_known(groups: ControlGroups) -> None:
    assert oom.kills() is None
    assert not KillCounter().explains_death(kills_before=None)
    groups.join("nonsense", "0::/")
    groups.count("memory.events", 0, "no counter")
    assert oom.kills() is None


def test_a_kill_since_a_process_started_explains_its_death(groups: ControlGroups) -> None:
    groups.join("0::/")
    groups.count("memory.events", 5)
    before, counter = oom.kills(), KillCounter()
    assert not counter.explains_death(kills_before=before)
    groups.count("memory.events", 6)
    assert counter.explains_death(kills_before=before)


def test_each_kill_explains_one_death(groups: ControlGroups) -> None:
    groups.join("0::/")
    groups.count("memory.events", 2)
    counter = KillCounter()
    assert [counter.explains_death(kills_before=0) for _ in range(3)] == [True, True, False]


def test_the_counter_of_this_machine_can_be_read() -> None:
    if not oom.MEMBERSHIP.exists():
        pytest.skip("control groups are a part of Linux")
    kills = oom.kills()
    assert kills is None or kills >= 0
