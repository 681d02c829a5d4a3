"""``jobledger export_crontab``: prints a crontab with the stored schedules."""

from typing import Any

from jobledger.exporting import crontabs
from jobledger.management import exports, printing
from jobledger.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    """Prints the crontab on stdout, and what is lost on stderr."""

    help = (
        "Print the schedules as a crontab. What cron cannot express is listed on stderr. Secrets among the "
        "options are printed, since the lines would not work without them."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        launcher = exports.launcher()
        found = exports.all_exports(self)
        lines = list(exports.expressed(self, found, lambda export: crontabs.line_of(export, launcher)))
        printing.write_exactly(self.stdout, crontabs.crontab(lines, exports.environment()))
        for export, _ in lines:
            exports.report_lost(self, export.name, [*export.notes, *crontabs.lost(export)])
        if zones := ", ".join(sorted({crontabs.zone_of(export) for export, _ in lines})):
            self.remark(f"Debian's cron ignores CRON_TZ: the machine's time zone must be {zones} there")
        self.remark(f"Schedules in this crontab: {len(lines)}")
