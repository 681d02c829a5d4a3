"""The table of ``python -m benchmarks``: as Markdown, line by line, and as JSON."""

from collections.abc import Mapping
from typing import Any

from benchmarks.rows.row import Figure

_COLUMNS = ("row", "measured", "here", "compared to", "its value", "ratio", "target", "")
_MET = {True: "met", False: "missed", None: ""}

HEAD = f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * 2} ---: | --- | ---: | ---: | --- | --- |"


def line(row: str, figure: Figure) -> str:
    cells = (
        row,
        figure.title,
        _number(figure.here),
        figure.peer_title,
        _number(figure.peer),
        _number(figure.ratio),
        str(figure.target or ""),
        _MET[figure.is_met],
    )
    return f"| {' | '.join(cells)} |"


def not_measured(row: str, reason: str) -> str:
    return f"| {row} | not measured: {reason} |{' |' * 6}"


def as_json(row: str, figure: Figure) -> Mapping[str, Any]:
    return {
        "row": row,
        "measured": figure.title,
        "here": figure.here,
        "compared_to": figure.peer_title or None,
        "its_value": figure.peer,
        "ratio": figure.ratio,
        "target": str(figure.target) if figure.target else None,
        "is_met": figure.is_met,
    }


def _number(value: float | None) -> str:
    """Three significant digits at least, so that small figures can be compared, too."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
