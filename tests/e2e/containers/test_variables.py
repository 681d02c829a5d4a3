"""What `.env` sets reaches the containers, whatever Docker itself adds to the environment of Compose."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.manual import ROOT

# What has a place in another line of the Compose file, or must be valid there.
NOT_PASSED_ON_BY_NAME = {"ALLOWED_HOSTS", "IMAGE", "PORT", "PULL_POLICY", "WORKER_MEMORY_LIMIT"}
NOT_PASSED_ON_BY_NAME |= {"COMPOSE_PROJECT_NAME"}


def test_a_variable_in_env_reaches_the_containers(tmp_path: Path) -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    names = set(re.findall(r"^    ([A-Z_]+):$", compose, flags=re.MULTILINE))
    names |= set(re.findall(r"\$\{([A-Z_]+)", compose)) - NOT_PASSED_ON_BY_NAME
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}=of-{name}\n" for name in names))
    assert passed_on(tmp_path) == {f"of-{name}" for name in names}


def passed_on(folder: Path) -> set[str]:
    """The values from ``.env`` that containers would have in their environment."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "DOCKER" in name}
    command = ["docker", "compose", "config", "--format", "json"]
    found = subprocess.run(command, cwd=folder, env=kept, check=True, capture_output=True, text=True)
    services = json.loads(found.stdout)["services"].values()
    values = [value for service in services for value in (service.get("environment") or {}).values()]
    return {value for value in values if value and value.startswith("of-")}
