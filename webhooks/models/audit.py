"""What people changed: who, when, what and why. `webhooks/inbox/audit.py` writes it, in the change's transaction."""

from django.db import models
from django.db.models.functions import Now

from webhooks.models.inbox import Job


class Change(models.Model):
    """One change that a person asked for, on the console or by a command."""

    at = models.DateTimeField(db_default=Now())
    who = models.CharField(max_length=150, help_text="The user's name; for a command, the name of its account.")
    action = models.CharField(max_length=40, help_text="For example run_again, give_up, pause, resume.")
    reason = models.CharField(max_length=500, blank=True)
    scope = models.CharField(max_length=500, help_text="What it was asked for: a job, a filter, a queue.")
    count = models.PositiveIntegerField(default=0, help_text="How many jobs it changed.")

    class Meta:
        indexes = [models.Index(fields=["at", "id"], name="change_at")]

    def __str__(self) -> str:
        return f"{self.action} by {self.who}"


class ChangedJob(models.Model):
    """A job that a change has changed, so that the change stands on the job's page."""

    change = models.ForeignKey(Change, on_delete=models.CASCADE, related_name="jobs")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="changes", db_index=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "change"], name="changed_job_once")]

    def __str__(self) -> str:
        return f"change {self.change_id} of job {self.job_id}"
