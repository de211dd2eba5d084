"""For tests of the plans that PostgreSQL makes."""

from django.db import connection


def forget_rows(tables: str) -> None:
    """Let these tables be, for the planner, such as nothing has ever been in, until the test's transaction ends.

    Other tests have left pages without rows, and counts of rows that are gone: an ANALYZE outlasts its transaction.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {tables} CASCADE")
