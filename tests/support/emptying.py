"""Emptying the database after a test that commits, as Django's `flush` does it, but sooner.

Its TRUNCATE makes new files for every table of PostgreSQL, and what each migration leaves is made again each time.
"""

from typing import Any

from django.core.management.color import Style
from django.core.management.commands import flush

KEPT = {"django_content_type", "auth_permission"}
"""They hold the same rows after each migration, and no test changes them."""
LARGE_BYTES = 1_000_000
"""From this size on, TRUNCATE: rows that are only deleted stay in the file, and slow down the tests that follow."""


def install() -> None:
    flush.sql_flush = _statements  # type: ignore[attr-defined]


def _statements(style: Style, connection: Any, **_options: Any) -> list[str]:
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    names = [connection.ops.quote_name(table) for table in tables]
    if connection.vendor == "postgresql" and _has_a_large_one(connection, tables):
        return [f"TRUNCATE {', '.join(names)}"]
    return [f"DELETE FROM {name}" for name in names]


def _has_a_large_one(connection: Any, tables: list[str]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(pg_relation_size(oid)) FROM pg_class WHERE relname = ANY(%s)", [tables])
        return bool(cursor.fetchone()[0] > LARGE_BYTES)
