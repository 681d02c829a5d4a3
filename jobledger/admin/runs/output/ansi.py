"""Terminal escapes as styled text. Pure: a text and the style before it give its parts and the style after.

Colours and styles (SGR) become classes, as inline styles are forbidden; colours beyond the sixteen of a
terminal become the nearest of these. "Hidden" is ignored: what was written is shown. Every other escape
sequence is dropped, also one that is cut off at the text's end. What is no escape sequence is kept as it
is, and escaped only when it becomes HTML.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

ESCAPE = re.compile(
    r"""
    \x1b\[ (?P<parameters>[0-?]*) [ -/]* (?P<final>[@-~]?)     # CSI, of which SGR is the one with an m
    | \x1b[\]PX^_] [^\x07\x1b\n]* (?: \x07 | \x1b\\ )?         # strings: titles, links
    | \x1b [ -/]* [0-Z\\^-~]?                                  # all others, and a lone escape
    """,
    re.VERBOSE,
)

# The terminal's sixteen, as xterm shows them: what other colours are measured against.
PALETTE = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205)),
    *((229, 229, 229), (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255)),
    *((255, 0, 255), (0, 255, 255), (255, 255, 255)),
)
LEVELS = (0, 95, 135, 175, 215, 255)

SWITCHES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
ENDS = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}
_TOKEN = re.compile(r"f(?:1[0-5]|[0-9])|b(?:1[0-5]|[0-9])|[a-z]{3,}")


@dataclass(frozen=True, kw_only=True)
class Style:
    """What the escapes so far have switched on."""

    foreground: int | None = None
    """One of the sixteen; None: the page's own."""
    background: int | None = None
    switches: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        """The classes of an element in this style; empty for plain text."""
        front, back, names = self.foreground, self.background, set(self.switches)
        if "inverse" in names and (front, back) != (None, None):
            front, back = back, front
            # One that was not set is the page's own, on the other side.
            names -= {"inverse"}
            names |= {"on-ink"} if back is None else set()
            names |= {"in-paper"} if front is None else set()
        names |= {f"fg-{front}"} if front is not None else set()
        names |= {"on", f"bg-{back}"} if back is not None else set()
        return " ".join(f"ansi-{name}" for name in sorted(names))

    @property
    def token(self) -> str:
        """The style as a short text, for an address; ``read_token`` reads it."""
        front = [] if self.foreground is None else [f"f{self.foreground}"]
        back = [] if self.background is None else [f"b{self.background}"]
        return "-".join([*front, *back, *sorted(self.switches)])


PLAIN = Style()


@dataclass(frozen=True, kw_only=True)
class StyledText:
    """Text in one style."""

    text: str
    style: Style


def read_token(token: str) -> Style:
    """The style of a token; whatever is none of its words is ignored."""
    words = {word for word in token.split("-") if _TOKEN.fullmatch(word)}
    colours = {word[0]: int(word[1:]) for word in words if word[1:].isdecimal()}
    return Style(
        foreground=colours.get("f"),
        background=colours.get("b"),
        switches=frozenset(words & set(SWITCHES.values())),
    )


def parse_escapes(text: str, style: Style = PLAIN) -> tuple[list[StyledText], Style]:
    """The text's parts, none of them empty, and the style after its end."""
    if "\x1b" not in text:
        return ([StyledText(text=text, style=style)] if text else []), style
    parts, position = [], 0
    for escape in ESCAPE.finditer(text):
        if escape.start() > position:
            parts.append(StyledText(text=text[position : escape.start()], style=style))
        if escape["final"] == "m":
            style = _after(style, escape["parameters"])
        position = escape.end()
    if position < len(text):
        parts.append(StyledText(text=text[position:], style=style))
    return parts, style


def without_escapes(text: str) -> str:
    return ESCAPE.sub("", text) if "\x1b" in text else text


def as_html(parts: Sequence[StyledText]) -> SafeString:
    """The parts as elements; one without a style is text alone."""
    return format_html_join("", "{}", ((_element(part),) for part in parts))


def _element(part: StyledText) -> SafeString:
    classes = part.style.classes
    if not classes:
        return format_html("{}", part.text)
    return format_html('<span class="{}">{}</span>', classes, part.text)


def _after(style: Style, parameters: str) -> Style:
    """The style after one SGR sequence; an unknown code changes nothing."""
    codes = _codes(parameters)
    for code in codes:
        style = _with_colour(style, code, codes) if code in (38, 48) else _with(style, code)
    return style


def _codes(parameters: str) -> Iterator[int]:
    """The numbers; nothing is zero. ``4:3`` and the like are forms of their first number."""
    for group in parameters.split(";"):
        first, *details = group.split(":")
        yield _number(first)
        if first in ("38", "48"):
            numbers = [_number(part) for part in details if part]
            # With colons a colour space may stand before red, green and blue.
            yield from (numbers[:1] + numbers[-3:] if len(numbers) > 4 else numbers)


def _number(digits: str) -> int:
    """Any longer number is as meaningless as its beginning."""
    return int(digits[:6]) if digits.isdecimal() else 0


def _extended(codes: Iterator[int]) -> int | None:
    """The nearest of the sixteen to what follows 38 or 48; None where it makes no sense."""
    match next(codes, None):
        case 5:
            index = next(codes, None)
            return None if index is None or index > 255 else _of_256(index)
        case 2:
            parts = [next(codes, 0) for _ in range(3)]
            return _nearest((min(parts[0], 255), min(parts[1], 255), min(parts[2], 255)))
    return None


def _with_colour(style: Style, code: int, following: Iterator[int]) -> Style:
    colour = _extended(following)
    if colour is None:
        return style
    return replace(style, foreground=colour) if code == 38 else replace(style, background=colour)


def _with(style: Style, code: int) -> Style:
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


def _of_256(index: int) -> int:
    """The first sixteen are themselves, then comes a cube of six levels, then greys."""
    if index < 16:
        return index
    if index >= 232:
        grey = 8 + (index - 232) * 10
        return _nearest((grey, grey, grey))
    index -= 16
    return _nearest((LEVELS[index // 36], LEVELS[index // 6 % 6], LEVELS[index % 6]))


@lru_cache(1024)  # a job may use millions of colours
def _nearest(colour: tuple[int, int, int]) -> int:
    distances = [
        sum((one - other) ** 2 for one, other in zip(colour, known, strict=True)) for known in PALETTE
    ]
    return distances.index(min(distances))
