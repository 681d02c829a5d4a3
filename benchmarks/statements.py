"""How many statements a PostgreSQL server has executed for a database, including BEGIN and COMMIT."""

import os
from urllib.parse import urlsplit

import psycopg

from tests.integration.service import Service

# Of all databases of the server, by the extension that only has to exist in the one that is asked.
_COUNT = """
SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements(false)
JOIN pg_database ON pg_database.oid = dbid WHERE datname = %s
"""


def executed(running: Service) -> int:
    """Counted by the server, so that it does not matter how the service sends them."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        name = urlsplit(running.database_url).path.strip("/")
        row = server.execute(_COUNT, [name]).fetchone()
    return int(row[0]) if row else 0
