"""``jobledger export_systemd``: writes a timer and a service for each stored schedule."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from jobledger.exporting import units
from jobledger.exporting.schedules import Export
from jobledger.management import callers, exports
from jobledger.management.operator_command import OperatorCommand
from jobledger.runs.identity import operating_system_user

ROOT = "root"


class Command(OperatorCommand):
    """Writes files into a new folder, and says on stderr what is lost."""

    help = (
        "Write the schedules as systemd timers and services. What they cannot express is listed on stderr. "
        "Secrets among the options are written as well: only the current user can read the files."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dir", metavar="DIR", help="A folder that does not exist yet, or is empty.")

    def handle(self, *args: Any, **options: Any) -> None:
        folder, launcher = Path(options["dir"]), exports.launcher()
        found = exports.all_exports(self)
        names = dict(zip(map(id, found), units.names(found), strict=True))

        def files(export: Export) -> list[tuple[str, str]]:
            return list(units.units(export, names[id(export)], launcher, _service()))

        written = list(exports.expressed(self, found, files))
        _write(folder, [file for _, each in written for file in each])
        for export, each in written:
            exports.report_lost(self, export.name, export.notes)
            self.say(each[0][0] if export.enabled else f"{each[0][0]} (disabled)")


def _service() -> dict[str, str]:
    user = operating_system_user()
    service = {} if user == ROOT else {"User": user}
    service["WorkingDirectory"] = units.escaped_path(str(callers.manage_py().parent))
    for name, value in exports.environment().items():
        service["Environment"] = f"{name}={value}"
    return service


def _write(folder: Path, files: list[tuple[str, str]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CommandError(f"{folder}: it is not empty")
        for name, text in files:
            file = folder / name
            file.touch(mode=0o600)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
