"""Locks on byte ranges of files, between threads and processes alike.

Open-file-description locks (fcntl(2), F_OFD_SETLK): they belong to an open file, not to a process,
and end with its last descriptor, however the process ends.  Locks of one open file never wait for
each other, so every holder opens its own.
"""

import errno
import fcntl
import os
import struct
import time

# Linux, <asm-generic/fcntl.h>; Python names them from 3.13 on.
_F_OFD_SETLK = 37
_F_OFD_SETLKW = 38

# struct flock: l_type, l_whence, l_start, l_len, l_pid (0, as OFD locks demand), padded.
_FLOCK = struct.Struct("@hhqqi4x")


# How often a wait with a deadline looks: the kernel has none for locks.  Short against a transfer,
# long against a system call.
_POLL_FIRST_S, _POLL_S_MAX = 0.001, 0.05


def wait_lock(
    fd: int, offset: int, length: int, *, shared: bool, wait_s: float | None = None
) -> bool:
    """Lock the range of the file, waiting until it is free, or for *wait_s* at most.

    Returns whether it is locked.  A *length* of 0 reaches to wherever the file may grow.
    """
    if wait_s is None:
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        fcntl.fcntl(fd, _F_OFD_SETLKW, _FLOCK.pack(kind, os.SEEK_SET, offset, length, 0))
        return True
    deadline, pause_s = time.monotonic() + wait_s, _POLL_FIRST_S
    while not try_lock(fd, offset, length, shared=shared):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _POLL_S_MAX)
    return True


def try_lock(fd: int, offset: int, length: int, *, shared: bool) -> bool:
    """Lock the range and return True, or return False at once when it is not free."""
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, length, 0))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def unlock(fd: int, offset: int, length: int) -> None:
    """Give the range back."""
    fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, offset, length, 0))
