"""What operators noted of failures that have one fingerprint."""

from django.db import models
from django.db.models.functions import Now


class IssueMark(models.Model):
    """An operator's word on all dead and failing jobs of one fingerprint."""

    class State(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        IGNORED = "ignored"

    fingerprint = models.CharField(max_length=16, unique=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.OPEN)
    note = models.CharField(max_length=500, blank=True)
    marked_by = models.CharField(max_length=150)
    marked_at = models.DateTimeField(db_default=Now())
    # No foreign key: retention removes jobs, whatever an operator once did to one of them.
    canary_job = models.BigIntegerField(
        null=True, blank=True, help_text="The one job of it that was retried last, before the others."
    )

    def __str__(self) -> str:
        return f"issue {self.fingerprint}"
