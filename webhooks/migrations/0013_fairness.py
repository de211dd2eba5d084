from importlib import import_module
from typing import Any

from django.db import migrations, models

AddIndexWhileJobsCome: Any = import_module("webhooks.migrations.0010_dead").AddIndexWhileJobsCome


class AddConstraintWhileJobsCome(migrations.AddConstraint):
    """Add a unique index to a table that is in use, as `AddIndexWhileJobsCome` adds others."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.constraint.name}")
        statement = str(self.constraint.create_sql(model, schema_editor))
        schema_editor.execute(statement.replace("CREATE UNIQUE INDEX", "CREATE UNIQUE INDEX CONCURRENTLY", 1))


class Migration(migrations.Migration):
    """Keys of jobs: whose they are, which run one at a time, and of which only the newest waits.

    The release before may run beside this one: the new columns may be empty, and no index holds a job without keys.
    """

    atomic = False  # PostgreSQL builds no index concurrently in a transaction.

    dependencies = [("webhooks", "0012_source_secrets")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="fair_key",
            field=models.CharField(
                blank=True, help_text="Whose job it is, in a shared queue.", max_length=200, null=True
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="order_key",
            field=models.CharField(
                blank=True, help_text="Of the jobs with the same key, one runs at a time.", max_length=300, null=True
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="latest_key",
            field=models.CharField(
                blank=True,
                help_text="Of the jobs with the same key, only the newest waits.",
                max_length=300,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="turn_at",
            field=models.DateTimeField(
                blank=True, help_text="When it was its turn among the jobs with the same order key.", null=True
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="superseded_by",
            field=models.BigIntegerField(
                blank=True, help_text="The newer job for which it was skipped.", null=True
            ),
        ),
        AddIndexWhileJobsCome(
            model_name="job",
            index=models.Index(
                condition=models.Q(("fair_key__isnull", False), ("publish_at__isnull", False)),
                fields=["queue", "fair_key", "publish_at", "id"],
                name="job_fair",
            ),
        ),
        AddIndexWhileJobsCome(
            model_name="job",
            index=models.Index(
                condition=models.Q(("order_key__isnull", False), ("state", "queued")),
                fields=["order_key", "id"],
                name="job_order_queued",
            ),
        ),
        AddIndexWhileJobsCome(
            model_name="job",
            index=models.Index(
                condition=models.Q(("order_key__isnull", False), ("state", "retrying")),
                fields=["order_key", "due_at", "id"],
                name="job_order_retrying",
            ),
        ),
        AddIndexWhileJobsCome(
            model_name="job",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True), ("latest_key__isnull", False)),
                fields=["latest_key", "id"],
                name="job_latest",
            ),
        ),
        AddConstraintWhileJobsCome(
            model_name="job",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("order_key__isnull", False),
                    models.Q(("state", "running"), ("publish_at__isnull", False), _connector="OR"),
                ),
                fields=("order_key",),
                name="job_turn",
            ),
        ),
    ]
