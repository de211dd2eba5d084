from typing import Any

from django.db import migrations, models


class AddIndexWhileJobsCome(migrations.AddIndex):
    """Add an index to a table that is in use: on PostgreSQL without a lock that would hold receivers and workers.

    A build that was broken off leaves an invalid index under the name; so it is dropped first.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")
        schema_editor.add_index(model, self.index, concurrently=True)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")


class Migration(migrations.Migration):
    """What the page of dead jobs asks: the dead jobs of each fingerprint, and which job was retried as a canary.

    The release before may run beside this one: the new column may be empty.
    """

    atomic = False  # PostgreSQL builds no index concurrently in a transaction.

    dependencies = [("webhooks", "0009_replays")]

    operations = [
        migrations.AddField(
            model_name="issuemark",
            name="canary_job",
            field=models.BigIntegerField(
                blank=True, help_text="The one job of it that was retried last, before the others.", null=True
            ),
        ),
        AddIndexWhileJobsCome(
            model_name="job",
            index=models.Index(
                condition=models.Q(("state", "dead")), fields=["fingerprint", "finished_at", "id"], name="job_issue"
            ),
        ),
    ]
