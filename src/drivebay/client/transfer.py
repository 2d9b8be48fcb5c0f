"""What uploads and downloads share: progress, and the one way in which a piece fails."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Protocol, TypeVar

from drivebay.client.errors import ClientError, TransferFailed
from drivebay.client.pieces import Range

CONNECTIONS = 4
CONNECTIONS_MAX = 16

# 0.25 s, doubling to 8 s, some 16 s in all: a service that is restarted is back by then.
RETRIES = 6

R = TypeVar("R")


class Progress(Protocol):
    """Whoever shows how far a transfer is.  Only the thread that runs the transfer calls it."""

    def start(self, label: str, *, total: int, done: int = 0) -> None:
        """Begin a phase of *total* bytes, of which an earlier run has done *done*."""

    def advance(self, length: int, *, is_hole: bool = False) -> None:
        """*length* more bytes are done; a hole's were not sent."""


class NoProgress:
    """Shows nothing."""

    def start(self, label: str, *, total: int, done: int = 0) -> None:
        """Show nothing."""

    def advance(self, length: int, *, is_hole: bool = False) -> None:
        """Show nothing."""


def results(
    operation: str, finished: Iterator[tuple[Range, Future[R]]]
) -> Iterator[tuple[Range, R]]:
    """Yield each range with its result, in order.

    Raises:
        TransferFailed: the first piece that failed, by its offset; all before it are done.
    """
    for item, future in finished:
        try:
            yield item, future.result()
        except TransferFailed:
            raise
        except ClientError as error:
            failure = TransferFailed(operation=operation, offset=item.offset, hint=error.hint)
            raise failure from error
