"""The metadata database: drives, users, jobs, claims and facts, and the only SQL of drivebay.

A `Catalog` gives transactions; the modules named after nouns (`drives`, `users`, `jobs`, `claims`, `facts`)
hold the queries, each taking a transaction first.  SQLite is the default, PostgreSQL runs the same
queries.  What is written is durable when `Catalog.write` ends.  `Rows` keeps the rows that are asked for most.
"""

from drivebay.catalog.engine import Catalog, Transaction
from drivebay.catalog.rows import Rows
from drivebay.catalog.sqlite import url_of as sqlite_url

__all__ = ["Catalog", "Rows", "Transaction", "sqlite_url"]
