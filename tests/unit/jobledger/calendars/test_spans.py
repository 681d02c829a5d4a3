"""Parts of a day have the same minutes as sets of minutes have."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobledger.calendars.spans import Span, common, joined, without

spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 15), st.sampled_from("abc")).map(
        lambda drawn: Span(begin=drawn[0], end=drawn[0] + drawn[1], name=drawn[2])
    ),
    max_size=6,
)
in_order = spans.map(joined)


def minutes(covered: Iterable[Span]) -> set[int]:
    return {minute for span in covered for minute in range(span.begin, span.end)}


@given(given_spans=spans)
def test_joined_spans_cover_the_same_minutes_once_and_in_order(given_spans: Sequence[Span]) -> None:
    found = joined(given_spans)
    assert minutes(found) == minutes(given_spans)
    assert all(one.end <= other.begin for one, other in pairwise(found))
    assert all(one.end < other.begin or one.name != other.name for one, other in pairwise(found))


@given(first=in_order, others=in_order)
def test_what_is_taken_away_is_gone_and_everything_else_is_left_with_its_name(
    first: Sequence[Span], others: Sequence[Span]
) -> None:
    left = list(without(first, others))
    assert minutes(left) == minutes(first) - minutes(others)
    for name in "abc":
        named = [[span for span in of if span.name == name] for of in (first, left)]
        assert minutes(named[1]) == minutes(named[0]) - minutes(others)


@given(
    first=in_order,
    other=st.builds(Span, begin=st.integers(0, 30), end=st.integers(31, 60), name=st.just("x")),
)
def test_what_spans_have_in_common_with_another_has_its_name(first: Sequence[Span], other: Span) -> None:
    found = list(common(first, other))
    assert minutes(found) == minutes(first) & minutes([other])
    assert {span.name for span in found} <= {"x"}
