"""Converts ANSI escape sequences to styled text.

Colours and styles (SGR) become CSS classes, because the content security policy forbids inline styles.
Colours other than the 16 terminal colours are mapped to the nearest of these. "Hidden" is ignored, so all
output is visible. All other escape sequences are dropped, even if they are cut off at the end of the text.
The remaining text is unchanged, and is escaped only when it is converted to HTML.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice

from django.utils.safestring import SafeString, mark_safe

from jobledger.escapes import ESCAPE_SEQUENCE

# The 16 terminal colours in xterm, to which other colours are compared.
PALETTE = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205)),
    *((229, 229, 229), (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255)),
    *((255, 0, 255), (0, 255, 255), (255, 255, 255)),
)
CUBE_LEVELS = (0, 95, 135, 175, 215, 255)

MAX_CODES = 32
"""In one sequence; terminals have a similar limit."""
SWITCHES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
ENDS = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}
_TOKEN = re.compile(r"f(?:1[0-5]|[0-9])|b(?:1[0-5]|[0-9])|[a-z]{3,}")


@dataclass(frozen=True, kw_only=True)
class Style:
    """The styles that are active at some point of the text."""

    foreground: int | None = None
    """One of the 16 terminal colours; None for the default."""
    background: int | None = None
    switches: frozenset[str] = frozenset()

    @cached_property
    def classes(self) -> str:
        """The CSS classes for this style; empty for plain text."""
        front, back, names = self.foreground, self.background, set(self.switches)
        if "inverse" in names and (front, back) != (None, None):
            front, back = back, front
            # A colour that is not set is the default, also when swapped.
            names -= {"inverse"}
            names |= {"on-ink"} if back is None else set()
            names |= {"in-paper"} if front is None else set()
        names |= {f"fg-{front}"} if front is not None else set()
        names |= {"on", f"bg-{back}"} if back is not None else set()
        return " ".join(f"ansi-{name}" for name in sorted(names))

    @property
    def token(self) -> str:
        """The style as short text for a URL; ``parse_token`` is the inverse."""
        front = [] if self.foreground is None else [f"f{self.foreground}"]
        back = [] if self.background is None else [f"b{self.background}"]
        return "-".join([*front, *back, *sorted(self.switches)])


PLAIN = Style()


@dataclass(frozen=True, kw_only=True)
class StyledText:
    """Text in a single style."""

    text: str
    style: Style


def parse_token(token: str) -> Style:
    """The style of a token; unknown words are ignored."""
    words = {word for word in token.split("-") if _TOKEN.fullmatch(word)}
    colours = {word[0]: int(word[1:]) for word in words if word[1:].isdecimal()}
    return Style(
        foreground=colours.get("f"),
        background=colours.get("b"),
        switches=frozenset(words & set(SWITCHES.values())),
    )


def parse_escapes(text: str, style: Style = PLAIN) -> tuple[list[StyledText], Style]:
    """The non-empty parts of the text, and the style at its end."""
    if "\x1b" not in text:
        return ([StyledText(text=text, style=style)] if text else []), style
    parts, position = [], 0
    for escape in ESCAPE_SEQUENCE.finditer(text):
        if escape.start() > position:
            parts.append(StyledText(text=text[position : escape.start()], style=style))
        if escape["final"] == "m":
            style = _apply_sgr(style, escape["parameters"])
        position = escape.end()
    if position < len(text):
        parts.append(StyledText(text=text[position:], style=style))
    return parts, style


def style_after(text: str, style: Style = PLAIN) -> Style:
    """The style at the end of the text."""
    if "\x1b" in text:
        for escape in ESCAPE_SEQUENCE.finditer(text):
            if escape["final"] == "m":
                style = _apply_sgr(style, escape["parameters"])
    return style


def as_html(parts: Sequence[StyledText]) -> SafeString:
    """The parts as HTML; parts without a style are plain text."""
    # Not format_html, which would take most of the time of a page with thousands of lines.
    return mark_safe("".join([_element(part) for part in parts]))  # noqa: S308 - escaped, except for the classes


def _element(part: StyledText) -> str:
    text, classes = html.escape(part.text), part.style.classes
    return f'<span class="{classes}">{text}</span>' if classes else text


@lru_cache(1024)
def _apply_sgr(style: Style, parameters: str) -> Style:
    """The style after an SGR sequence; unknown codes, and all after the first few, are ignored."""
    codes = islice(_codes(parameters), MAX_CODES)
    for code in codes:
        style = _apply_colour(style, code, codes) if code in (38, 48) else _apply_code(style, code)
    return style


def _codes(parameters: str) -> Iterator[int]:
    """The SGR codes. An empty code is 0. Subparameters, as in ``4:3``, are ignored except for colours."""
    for group in parameters.split(";"):
        first, *details = group.split(":")
        yield _number(first)
        if first in ("38", "48"):
            numbers = [_number(part) for part in details if part]
            # The colon syntax allows a colour space before red, green and blue.
            yield from (numbers[:1] + numbers[-3:] if len(numbers) > 4 else numbers)


def _number(digits: str) -> int:
    """Longer numbers are truncated: they are invalid anyway."""
    return int(digits[:6]) if digits.isdecimal() else 0


def _extended_colour(codes: Iterator[int]) -> int | None:
    """The terminal colour nearest to the one that follows code 38 or 48; None if it is invalid."""
    match next(codes, None):
        case 5:
            index = next(codes, None)
            return None if index is None or index > 255 else _from_256(index)
        case 2:
            parts = [next(codes, 0) for _ in range(3)]
            return _nearest((min(parts[0], 255), min(parts[1], 255), min(parts[2], 255)))
    return None


def _apply_colour(style: Style, code: int, following: Iterator[int]) -> Style:
    colour = _extended_colour(following)
    if colour is None:
        return style
    return replace(style, foreground=colour) if code == 38 else replace(style, background=colour)


def _apply_code(style: Style, code: int) -> Style:
    if code == 0:
        return PLAIN
    if code in SWITCHES:
        return replace(style, switches=style.switches | {SWITCHES[code]})
    if code in ENDS:
        return replace(style, switches=style.switches - set(ENDS[code]))
    if code in (39, 49):
        return replace(style, foreground=None) if code == 39 else replace(style, background=None)
    for first, colour in ((30, 0), (90, 8)):
        if first <= code < first + 8:
            return replace(style, foreground=code - first + colour)
        if first + 10 <= code < first + 18:
            return replace(style, background=code - first - 10 + colour)
    return style


def _from_256(index: int) -> int:
    """The palette has the 16 terminal colours, then a cube of six levels, then greys."""
    if index < 16:
        return index
    if index >= 232:
        grey = 8 + (index - 232) * 10
        return _nearest((grey, grey, grey))
    index -= 16
    return _nearest((CUBE_LEVELS[index // 36], CUBE_LEVELS[index // 6 % 6], CUBE_LEVELS[index % 6]))


@lru_cache(1024)  # bounded: a job may use millions of colours
def _nearest(colour: tuple[int, int, int]) -> int:
    distances = [
        sum((one - other) ** 2 for one, other in zip(colour, known, strict=True)) for known in PALETTE
    ]
    return distances.index(min(distances))
