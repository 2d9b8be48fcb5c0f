"""Sizes: the powers of 1024 that the API counts in, and their text forms."""

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

# The largest offset that a 64-bit signed file offset can name.
OFFSET_MAX = 2**63 - 1

_SUFFIXES = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}

# `[0-9]`, not `\d`: Python's int() also takes signs, underscores, blanks and the digits of other
# scripts, none of which the API knows.
_SIZE = re.compile(r"0*([0-9]+)([kKmMgGtT]?)")

# Digits of the largest offset.  More than these, zeros in front not counted, are not even converted,
# which keeps a million of them from costing anything.
_DIGITS_MAX = 19

# How much of a wrong value an error repeats.
_SHOWN_MAX = 40


def parse_size(text: str) -> int:
    """Return the byte count that *text* names: digits, optionally with k, M, G or T (1024's powers).

    Raises:
        ValueError: *text* has another form or the number is past 2**63-1; the message says which.
    """
    if len(text) < _DIGITS_MAX and text.isdigit() and text.isascii():
        return int(text)  # What nearly all callers send.
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown!r} is not a byte count: digits, then at most one of k, M, G, T")
    digits, suffix = match.groups()
    if len(digits) <= _DIGITS_MAX:
        size = int(digits) * _SUFFIXES[suffix.lower()]
        if size <= OFFSET_MAX:
            return size
    raise ValueError(f"{shown!r} is past the largest byte count, {OFFSET_MAX}")


def format_size(size_bytes: int) -> str:
    """Return *size_bytes* for people, such as ``12.5 GiB``; exact below 1 KiB."""
    if size_bytes < KIB:
        return f"{size_bytes} B"
    units = ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))
    unit, name = next(pair for pair in units if size_bytes >= pair[0])
    return f"{size_bytes / unit:.1f} {name}".replace(".0 ", " ")


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of *multiple* that is at least *value*."""
    return -(-value // multiple) * multiple
