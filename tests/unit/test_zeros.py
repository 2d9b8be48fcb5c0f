"""Whole sectors of zeros are found, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from drivebay.storage.volume import Extent
from drivebay.storage.zeros import SECTOR, has_any, runs

offsets = st.builds(
    lambda sector, beside: max(0, sector * SECTOR + beside),
    st.integers(0, 3) | st.integers(0, 2**51 - 10),
    st.sampled_from([-1, 0, 0, 1, 2000]),
)
contents = st.lists(
    st.tuples(
        st.sampled_from([b"\0", b"\0", b"\0", b"a"]),
        st.sampled_from([1, 7, 2000, SECTOR - 1, SECTOR, 3 * SECTOR]),
    ),
    max_size=8,
).map(lambda parts: b"".join(byte * length for byte, length in parts))


def naive(offset: int, data: bytes) -> list[Extent]:
    """Look at one sector after the other, and join neighbours that are alike."""
    end = offset + len(data)
    found: list[Extent] = []
    at = offset
    while at < end:
        edge = min((at // SECTOR + 1) * SECTOR, end)
        is_data = edge - at < SECTOR or any(data[at - offset : edge - offset])
        if found and found[-1].is_data == is_data:
            found[-1] = Extent(found[-1].offset, edge - found[-1].offset, is_data)
        else:
            found.append(Extent(at, edge - at, is_data))
        at = edge
    return found


@given(offsets, contents)
def test_runs_are_what_looking_at_every_sector_finds(offset, data):
    assert list(runs(offset, memoryview(data))) == naive(offset, data)


@given(st.integers(0, 2 * SECTOR), st.integers(0, 3 * SECTOR), st.integers(0, 3 * SECTOR))
def test_one_byte_in_zeros_makes_data_of_its_sector_alone(offset, before, after):
    data = bytes(before) + b"x" + bytes(after)

    assert list(runs(offset, memoryview(data))) == naive(offset, data)


@given(offsets, contents)
def test_what_may_have_no_hole_has_none(offset, data):
    if not has_any(offset, memoryview(data)):
        assert all(extent.is_data for extent in naive(offset, data))


@given(offsets, st.integers(1, 3 * SECTOR))
def test_a_hole_is_never_overlooked(offset, length):
    data = memoryview(bytes(length))

    has_hole = any(not extent.is_data for extent in naive(offset, data))

    assert has_any(offset, data) == has_hole
