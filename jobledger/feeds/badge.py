"""Draws a status as a badge: an SVG of a few hundred bytes that needs no style, script or font of its own."""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from django.utils.html import format_html

from jobledger.escapes import escaped

MAX_NAME_LENGTH = 40
_PADDING = 6
_NARROW, _WIDE = "fijlrt|!.,:;'()[] ", "mwMW@%"
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" viewBox="0 0 {total} 20" role="img"'
    ' aria-label="{title}"><title>{title}</title>'
    '<clipPath id="r"><rect width="{total}" height="20" rx="3"/></clipPath>'
    '<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#3d444d"/>'
    '<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
    '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
    '<text x="{padding}" y="14" textLength="{name_width}" lengthAdjust="spacingAndGlyphs">{name}</text>'
    '<text x="{text_x}" y="14" textLength="{text_width}" lengthAdjust="spacingAndGlyphs">{text}</text>'
    "</g></svg>\n"
)


class Tone(StrEnum):
    """The colour behind the text, upon which white has a contrast of more than 4.5 to 1."""

    GOOD = "#19703f"
    BAD = "#b3261e"
    WARN = "#8a5a00"
    BUSY = "#17607f"
    CALM = "#586574"


@dataclass(frozen=True, kw_only=True)
class BadgeStatus:
    """What a badge says."""

    name: str
    text: str
    """In a few words."""
    details: str = ""
    """For screen readers, and as the tooltip."""
    tone: Tone


def drawn(status: BadgeStatus) -> bytes:
    name, text = _cut(escaped(status.name)), _cut(escaped(status.text))
    name_width, text_width = _width(name), _width(text)
    left, right = name_width + 2 * _PADDING, text_width + 2 * _PADDING
    title = f"{escaped(status.name)}: {text}" + (f", {status.details}" if status.details else "")
    svg = format_html(
        _SVG,
        total=left + right,
        left=left,
        right=right,
        colour=status.tone.value,
        padding=_PADDING,
        name=name,
        name_width=name_width,
        text=text,
        text_x=left + _PADDING,
        text_width=text_width,
        title=title,
    )
    return svg.encode()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[: MAX_NAME_LENGTH - 1]}…"


def _width(text: str) -> int:
    """About as wide as the text is drawn; ``textLength`` makes it exactly so, whatever the font."""
    return sum(map(_width_of, text))


def _width_of(character: str) -> int:
    if character in _NARROW:
        return 4
    is_wide = unicodedata.east_asian_width(character) in "WF"
    return 11 if is_wide or character in _WIDE else 7
