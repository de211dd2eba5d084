"""The pull requests that were merged."""

from django.db import models


class Merge(models.Model):
    key = models.CharField(max_length=300, unique=True, help_text="The event's idempotency key.")
    repository = models.CharField(max_length=255)
    number = models.PositiveIntegerField()
    merged_at = models.DateTimeField()

    class Meta:
        ordering = ["-merged_at"]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number}"
