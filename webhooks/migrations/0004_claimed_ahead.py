from django.db import migrations, models


class Migration(migrations.Migration):
    """What is written down of jobs that a worker claims ahead of their runs.

    The release before may run beside this one, or come back: each new column may be empty or has a default, and no
    column goes. The migration is reversible; only what the new columns hold is lost.
    """

    dependencies = [("webhooks", "0003_once_per_event")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="worker",
            field=models.CharField(
                blank=True, db_default="", help_text="The node name of the worker that claimed it last.", max_length=255
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="claimed_at",
            field=models.DateTimeField(blank=True, help_text="When that was.", null=True),
        ),
        migrations.AddField(
            model_name="job",
            name="started_at",
            field=models.DateTimeField(
                blank=True, help_text="When its run began; written only for a job that was lost before.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="publish_at",
            field=models.DateTimeField(
                blank=True, help_text="While it waits: from when on a worker may claim it. Else empty.", null=True
            ),
        ),
        # The release before counts in it, so the column stays, with a default for rows of this one. A later release
        # drops it. Last, since SQLite's table is made anew for a new column, with no columns but those of the model.
        migrations.AlterField(
            model_name="job",
            name="publications",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name="job", name="publications")]
        ),
    ]
