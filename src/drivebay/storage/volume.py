"""The contract between the service and whatever keeps the bytes.

One conformance suite (`tests/contract/volume_contract.py`, `store_contract.py`) holds every
implementation and every wrapper to these sentences.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self
from uuid import UUID

from drivebay.storage.idle import KEPT_S


@dataclass(frozen=True)
class Extent:
    """A run of bytes that is data, or a hole that reads as zeros."""

    offset: int
    length: int
    is_data: bool

    @property
    def end(self) -> int:
        """The offset of the first byte behind the extent."""
        return self.offset + self.length


Decode = Callable[[int, int], None]
"""Makes the bytes from one index of a buffer to another the volume's: whole sectors (4096 bytes,
aligned in the buffer; its end counts as one), each of them once."""


def decoded(start: int, end: int) -> None:
    """Do nothing: the `Decode` of bytes that are stored as they are."""
    del start, end


class WouldWait(Exception):
    """What was asked for is not to be had without waiting."""


class Volume(Protocol):
    """One open drive's bytes.

    Offsets and lengths count bytes, and the caller keeps them inside 0..size: a volume asserts
    it.  There are no short reads or writes.  A volume object serves one operation at a time;
    open another for a parallel one: `locked` orders operations between objects, threads and
    processes alike.  Every operation may raise `StorageFailed`.
    """

    @property
    def size(self) -> int:
        """The volume's length in bytes."""

    def pread(self, offset: int, buffer: memoryview) -> None:
        """Fill all of *buffer* from *offset*; bytes never written read as zero."""

    def pread_now(self, offset: int, buffer: memoryview) -> bool:
        """Do as `pread` if that takes no waiting for a disk or a network; else return False.

        After False *buffer* holds an unspecified mix.  A store that cannot tell returns False.
        """

    def fetch_now(self, offset: int, buffer: memoryview) -> Decode | None:
        """Do as `pread_now`, but leave it to the caller to decode *buffer*, part by part.

        After None *buffer* holds an unspecified mix.  Neither the volume nor its lock is needed to
        decode.
        """

    def pwrite(self, offset: int, data: memoryview) -> None:
        """Write all of *data* at *offset*; *data* may be changed by the call (encryption in place).

        Whole zero sectors (4096 bytes, aligned on the volume) become holes.  Readers see the bytes
        on return; a power cut may lose them until `flush`.

        Raises:
            StoreFull: no room; the range holds old bytes, new bytes or a mix.
            StorageFailed: the same.
        """

    def zero(self, offset: int, length: int) -> None:
        """Make the range read as zeros, and give its whole sectors back to the store."""

    def reserve(self, offset: int, length: int) -> None:
        """Take room for the whole range, so that a first write into it will find some.

        What the range holds stays.  A store that has no notion of it does nothing.

        Raises:
            StoreFull: there is not enough; some may have been taken.
        """

    def share(self, source: "Volume", offset: int, length: int) -> bool:
        """Take the range from the same place of *source* without moving bytes, if that is possible.

        Later writes to one of the two do not show in the other.  After False the range holds old
        bytes, new bytes or a mix: `pread` and `pwrite` do it then.
        """

    def flush(self) -> None:
        """Return when everything written through any object of this volume is durable.

        Calls from several threads may share the work of one.

        Raises:
            StorageFailed: the volume's content cannot be trusted any more; do not try again.
        """

    def resize(self, size: int) -> None:
        """Make the volume *size* bytes long, durably.

        Grown space reads as zeros, also where a larger volume once had data.
        """

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield the range's extents in order, without gap or overlap, none empty.

        A hole reads as zeros; data may read as zeros too.
        """

    def allocated(self) -> int:
        """Return the bytes that the volume takes up in its store."""

    def locked(
        self, offset: int, length: int, *, shared: bool, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        """Hold the range: shared holders exclude exclusive ones, in every process.

        The range is widened to what one `pwrite` touches.  Waits until it is free, or for *wait_s*
        at most.  `size` is the present one once the range is held.

        Raises:
            WouldWait: the range was not free in time.
        """

    def locked_whole(
        self, *, shared: bool, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        """Hold the volume from its start to wherever it may grow; otherwise as `locked`."""

    def close(self) -> None:
        """Give back what the object holds; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Store(Protocol):
    """A place that holds volumes, in one failure domain."""

    @property
    def name(self) -> str:
        """The name that the configuration gives it; drives remember it."""

    @property
    def domain(self) -> str:
        """The failure domain: stores of one domain can be lost together."""

    def is_reachable(self) -> bool:
        """Whether the store answers and is the one that was set up under this name."""

    def has(self, uuid: UUID, size: int = 0) -> bool:
        """Whether the store is reachable and holds a volume *uuid* of at least *size* bytes."""

    def create(self, uuid: UUID, size: int) -> None:
        """Make a volume of zeros, durably.

        Raises:
            StoreFull: nothing is left behind.
            StorageFailed: nothing usable is left behind; `destroy` clears the rest.
        """

    def open(self, uuid: UUID, *, now: bool = False) -> Volume:
        """Open a volume; the caller closes it.  A store may keep closed ones open for the next.

        Raises:
            WouldWait: *now* was asked for, and it takes waiting for a disk or a network.
            StorageFailed: it is not there or is not what a volume looks like.
        """

    def destroy(self, uuid: UUID) -> None:
        """Remove a volume, durably; one that is not there is no error.

        Its room is free on return, whoever else has it open.
        """

    def volumes(self) -> Iterator[UUID]:
        """Yield the uuid of every volume in the store, in no order."""

    def free(self) -> int:
        """Return the bytes that are still free in the store."""

    def close_idle(self, *, unused_s: float = KEPT_S) -> None:
        """Give back what nobody has used for *unused_s* since its volume was closed.

        Call it now and then, so that a store's file system can be unmounted.
        """
