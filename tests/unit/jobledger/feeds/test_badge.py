"""A badge is valid, accessible SVG, whatever the name."""

from xml.etree import ElementTree as ET

import pytest

from jobledger.feeds.badge import BadgeStatus, Tone, drawn

SVG = "{http://www.w3.org/2000/svg}"


def parsed(name: str = "nightly", text: str = "failed", details: str = "") -> ET.Element:
    return ET.fromstring(drawn(BadgeStatus(name=name, text=text, tone=Tone.BAD, details=details)))


def test_it_says_the_name_and_the_status() -> None:
    svg = parsed(details="last run 2026-03-01 12:00:00 UTC")
    assert [text.text for text in svg.iter(f"{SVG}text")] == ["nightly", "failed"]
    title = svg.find(f"{SVG}title")
    assert title is not None
    assert title.text == svg.get("aria-label") == "nightly: failed, last run 2026-03-01 12:00:00 UTC"
    assert svg.get("role") == "img"


@pytest.mark.parametrize(
    "name",
    ['<script>alert("1")</script>', "a & b's", "\x00\x1b]0;x\x07", "\ud800", "\ufffe and \uffff", "夜間"],
)
def test_any_name_is_shown_as_text(name: str) -> None:
    svg = parsed(name)
    assert not list(svg.iter(f"{SVG}script"))
    assert len(list(svg.iter(f"{SVG}text"))) == 2


def test_a_status_of_another_version_is_shown_as_text() -> None:
    assert [text.text for text in parsed(text="<b>\ufffe").iter(f"{SVG}text")] == ["nightly", "<b>\\ufffe"]


def test_a_long_name_is_cut_but_read_out_in_full() -> None:
    svg = parsed("x" * 200)
    name = next(svg.iter(f"{SVG}text")).text
    assert name == "x" * 39 + "…"
    assert (svg.get("aria-label") or "").startswith("x" * 200)


def test_nothing_is_styled_inline_or_loaded() -> None:
    text = drawn(BadgeStatus(name="n", text="t", tone=Tone.GOOD)).decode()
    assert "style" not in text
    assert "href" not in text


def _luminance(colour: str) -> float:
    def linear(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(colour[at : at + 2]) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", [*Tone, "#3d444d"])
def test_white_text_is_readable_upon_each_colour(colour: str) -> None:
    assert 1.05 / (_luminance(colour) + 0.05) > 4.5
