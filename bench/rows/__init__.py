"""The rows, in the order of the table: each module adds its own when it is imported."""

from bench.contest import TABLE
from bench.rows import transfers

__all__ = ["ROWS", "transfers"]

ROWS = TABLE.rows
