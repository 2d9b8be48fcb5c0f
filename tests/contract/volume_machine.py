"""Any history of one volume, beside a bytearray: the bytes are equal at every moment."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from contract.stacks import SECTOR, Stack, holes, read
from drivebay.storage.volume import Volume

# Offsets, lengths and sizes at and around the sectors' edges, up to six sectors.
edges = st.builds(
    lambda sector, beside: max(0, sector * SECTOR + beside),
    st.integers(0, 6),
    st.sampled_from([-1, 0, 0, 0, 1, 7, 2000]),
)
sizes = edges.filter(bool)
objects = st.integers(0, 1)

# Data that has runs of zeros in it, of whole sectors and of others.
contents = st.lists(
    st.tuples(st.sampled_from([b"\0", b"\0", b"a", b"\xff"]), st.sampled_from([1, 2000, SECTOR])),
    max_size=6,
).map(lambda runs: b"".join(byte * length for byte, length in runs))


class Histories(RuleBasedStateMachine):
    """Two objects of one volume take turns."""

    stack: Stack
    gives_back = True

    @initialize(size=sizes)
    def make(self, size: int):
        self.kept = self.stack.make(size)
        self.model = bytearray(size)
        self.volumes: list[Volume] = [self.kept.open(), self.kept.open()]

    @rule(which=objects, offset=edges, data=contents, is_readonly=st.booleans())
    def pwrite(self, which: int, offset: int, data: bytes, *, is_readonly: bool):
        at, length = self._inside(offset, len(data))
        part = data[:length]

        self.volumes[which].pwrite(at, memoryview(part if is_readonly else bytearray(part)))

        self.model[at : at + length] = part
        first, last = -(-at // SECTOR) * SECTOR, (at + length) // SECTOR * SECTOR
        for sector in range(first, last, SECTOR):
            if not any(part[sector - at : sector - at + SECTOR]):
                self._see_hole(sector)

    @rule(which=objects, offset=edges, length=edges)
    def zero(self, which: int, offset: int, length: int):
        at, inside = self._inside(offset, length)

        self.volumes[which].zero(at, inside)

        self.model[at : at + inside] = bytes(inside)
        for sector in range(-(-at // SECTOR), (at + inside) // SECTOR):
            self._see_hole(sector * SECTOR)

    @rule(which=objects, size=sizes)
    def resize(self, which: int, size: int):
        self.volumes[which].resize(size)

        self.model = self.model[:size].ljust(size, b"\0")
        self.volumes[1 - which].close()
        self.volumes[1 - which] = self.kept.open(size)

    @rule(which=objects)
    def flush(self, which: int):
        self.volumes[which].flush()

    @rule(which=objects)
    def reopen(self, which: int):
        self.volumes[which].close()
        self.volumes[which] = self.kept.open(len(self.model))

    @rule(which=objects, offset=edges, length=edges)
    def pread(self, which: int, offset: int, length: int):
        at, inside = self._inside(offset, length)

        assert read(self.volumes[which], at, inside) == self.model[at : at + inside]

    @rule(which=objects, offset=edges, length=edges)
    def extents(self, which: int, offset: int, length: int):
        at, inside = self._inside(offset, length)

        for hole in holes(self.volumes[which], at, inside):
            assert not any(self.model[hole.offset : hole.end])

    @invariant()
    def every_byte_is_equal(self):
        for volume in self.volumes:
            assert volume.size == len(self.model)
        assert read(self.volumes[0]) == self.model

    def teardown(self):
        for volume in getattr(self, "volumes", []):
            assert read(volume) == self.model
            volume.close()

    def _inside(self, offset: int, length: int) -> tuple[int, int]:
        at = min(offset, len(self.model))
        return at, min(length, len(self.model) - at)

    def _see_hole(self, sector: int):
        if self.gives_back:
            assert sum(hole.length for hole in holes(self.volumes[0], sector, SECTOR)) == SECTOR


def check_histories(stack: Stack, *, gives_back: bool = True) -> None:
    """Run histories over *stack*; *gives_back* is whether zeros become holes."""
    machine = type("Histories", (Histories,), {"stack": stack, "gives_back": gives_back})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )
