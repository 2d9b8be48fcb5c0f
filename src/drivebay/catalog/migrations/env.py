"""What Alembic runs: it works in the transaction that `upgrade` has begun."""

from alembic import context

from drivebay.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
