from typing import Any

from django.db import migrations

_NAME = "attempt_finished"
_CREATE = {
    # Attempts lie in the table about in the order in which they ended, so the ends of each stretch of it will do: it
    # costs next to nothing to keep. What is new is summarised as soon as a stretch is full.
    "postgresql": f"CREATE INDEX CONCURRENTLY {_NAME} ON webhooks_attempt USING brin (finished_at)"
    " WITH (pages_per_range = 32, autosummarize = on)",
    "sqlite": f"CREATE INDEX {_NAME} ON webhooks_attempt (finished_at)",
}
_DROP = {
    "postgresql": f"DROP INDEX CONCURRENTLY IF EXISTS {_NAME}",
    "sqlite": f"DROP INDEX IF EXISTS {_NAME}",
}


def create(_apps: Any, editor: Any) -> None:
    drop(_apps, editor)  # If it was broken off, PostgreSQL keeps an index that it does not use.
    editor.execute(_CREATE[editor.connection.vendor])


def drop(_apps: Any, editor: Any) -> None:
    editor.execute(_DROP[editor.connection.vendor])


class Migration(migrations.Migration):
    """Find attempts by the moment of their end, to count them. PostgreSQL makes the index while all programs work."""

    atomic = False
    dependencies = [("webhooks", "0007_figures")]

    operations = [migrations.RunPython(create, drop, elidable=False)]
