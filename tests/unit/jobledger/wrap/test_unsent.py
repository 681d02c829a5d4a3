"""The queue between the relay and the recorder."""

import io
import os

from hypothesis import given
from hypothesis import strategies as st

from jobledger.wrap.unsent import OMITTED, STDERR, STDOUT, Unsent, received


def all_of(unsent: Unsent) -> list[tuple[bytes, bytes]]:
    """What arrives at the other end of a pipe that accepts little at a time."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    found = b""
    while unsent:
        unsent.send(write)
        found += os.read(read, 1 << 20)
    os.close(write)
    os.close(read)
    return list(received(io.BytesIO(found)))


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50)), max_size=40))
def test_what_fits_arrives_unchanged(writes: list[tuple[bytes, bytes]]) -> None:
    unsent = Unsent(100_000)
    for mark, data in writes:
        unsent.add(mark, data)
    assert all_of(unsent) == writes


@given(st.integers(200, 900), st.lists(st.binary(min_size=1, max_size=60), max_size=60))
def test_of_what_does_not_fit_the_middle_is_counted(limit: int, writes: list[bytes]) -> None:
    unsent = Unsent(limit)
    for data in writes:
        unsent.add(STDOUT, data)
    arrived = all_of(unsent)
    kept = b"".join(data for mark, data in arrived if mark == STDOUT)
    omitted = sum(int(data) for mark, data in arrived if mark == OMITTED)
    assert len(kept) + omitted == sum(map(len, writes))
    assert [mark for mark, _ in arrived].count(OMITTED) <= 1
    before = (
        b"".join(data for _, data in arrived[: [mark for mark, _ in arrived].index(OMITTED)])
        if omitted
        else kept
    )
    assert b"".join(writes).startswith(before)
    assert b"".join(writes).endswith(kept[len(before) :])


def test_it_holds_no_more_than_its_limit() -> None:
    unsent = Unsent(1000)
    for _ in range(100):
        unsent.add(STDOUT, b"x" * 100)
    assert sum(len(data) for _, data in all_of(unsent)) < 1100


def test_a_frame_that_is_cut_off_is_left_out() -> None:
    unsent = Unsent()
    unsent.add(STDOUT, b"whole")
    assert list(received(io.BytesIO(b"o\x00\x00\x00\x05wholeo\x00"))) == [(STDOUT, b"whole")]
