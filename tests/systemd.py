"""systemd's units of this project, read as systemd would, for tests that run where it does not."""

import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "deploy" / "systemd"
INSTALLED_IN = "/opt/jobledger"
SERVICES = ("setup", "web", "worker@", "beat")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A service."""

    settings: Mapping[str, list[str]]
    """The values of each setting of any section, in order."""
    folder: Path
    """Where its state, runtime and credentials directories are."""

    def last(self, name: str) -> str:
        """A setting of which the last value counts."""
        return self.settings[name][-1]

    @property
    def environment(self) -> dict[str, str]:
        """What it adds to its environment."""
        pairs = [pair for line in self.settings["Environment"] for pair in shlex.split(self._expanded(line))]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self, **variables: str) -> list[str]:
        """What it starts, from this clone, if its ``EnvironmentFile=`` has these variables."""
        line = Template(self._expanded(self.last("ExecStart"))).substitute(self.environment, **variables)
        program, *arguments = shlex.split(line)
        return [program.replace(f"{INSTALLED_IN}/.venv/bin", str(Path(sys.executable).parent)), *arguments]

    def _expanded(self, text: str) -> str:
        specifiers = {"%d": "credentials", "%S": "state", "%t": "runtime"}
        for specifier, name in specifiers.items():
            text = text.replace(specifier, str(self.folder / name))
        return text.replace("%i", "1").replace("%H", "here")


def unit(name: str, folder: Path) -> Unit:
    """The service with this name, without its prefix; an instance of a template is its first."""
    settings: defaultdict[str, list[str]] = defaultdict(list)
    for line in (UNITS / f"jobledger-{name}.service").read_text().splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            settings[key].append(value)
    return Unit(settings=settings, folder=folder)
