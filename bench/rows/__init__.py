"""The rows, in the order of the table."""

from bench.rows import durable, gzip, imaging, memory, neighbours, scale, small, transfers

ROWS = [
    row
    for module in (transfers, durable, gzip, neighbours, small, imaging, scale, memory)
    for row in module.TABLE.rows
]
