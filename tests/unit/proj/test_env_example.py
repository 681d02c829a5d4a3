"""Every line of ``.env.example`` can be used as it is."""

import re
from typing import Any

import pytest
import yaml

from proj.state import BASE_DIR

LINES = re.findall(r"^# ([A-Z_]+=.*)$", (BASE_DIR / ".env.example").read_text(), flags=re.MULTILINE)
# The places that read the environment, and how.
READERS = {
    "proj/settings.py": r"\benv\.\w+\(\s*\"([A-Z_]+)\"",
    "proj/up.py": r"\b(?:env|Environment\(\))\.\w+\(\s*\"([A-Z_]+)\"",
    "docker-compose.yml": r"\$\{([A-Z_]+)",
}


@pytest.mark.parametrize("line", LINES)
def test_values_contain_no_comments(line: str) -> None:
    name, _, value = line.partition("=")
    assert "#" not in value
    assert value == value.strip()
    assert name


def test_there_are_lines() -> None:
    assert "PORT=8000" in LINES


def test_exactly_the_variables_that_are_read_are_described() -> None:
    described = [line.partition("=")[0] for line in LINES]
    read = [re.findall(asked, (BASE_DIR / file).read_text()) for file, asked in READERS.items()]
    assert sorted(described) == sorted(set().union(*read))


def test_compose_passes_on_all_other_variables() -> None:
    compose = (BASE_DIR / "docker-compose.yml").read_text()
    own = {"STATIC_ROOT", "RESULT_BACKEND_URL", "REDIS_KEY_PREFIX", "REDIS_CA"}
    own |= {"RABBITMQ_URL", "TRANSACTION_POOLING", "REDIS_SENTINEL_MASTER", "REDIS_SENTINEL_PASSWORD"}
    named = set(re.findall(r"^    ([A-Z_]+?)(?:_FILE)?:", compose, flags=re.MULTILINE))
    named |= set(re.findall(r"\$\{([A-Z_]+)", compose))
    assert {line.partition("=")[0] for line in LINES} - own == named


def test_compose_passes_on_secrets_and_the_files_that_contain_them() -> None:
    services: dict[str, Any] = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())["services"]
    passed_on = [
        (environment, name)
        for environment in (service.get("environment", {}) for service in services.values())
        for name in environment
        if name in {"BEAT_PING_URL", "EMAIL_URL", "METRICS_TOKEN", "OIDC_CLIENT_SECRET"}
    ]
    assert len(passed_on) == 7
    for environment, name in passed_on:
        # Without a value, it is not set in the container unless it is set outside.
        assert environment.get(f"{name}_FILE", "missing") is None
