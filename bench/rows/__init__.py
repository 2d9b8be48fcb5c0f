"""The rows, in the order of the table; those of one module share their servers and content."""

from bench.rows import durable, gzip, imaging, memory, nbd, neighbours, scale, small, transfers

GROUPS = [
    module.TABLE.rows
    for module in (transfers, durable, gzip, neighbours, nbd, small, imaging, scale, memory)
]
ROWS = [row for group in GROUPS for row in group]
