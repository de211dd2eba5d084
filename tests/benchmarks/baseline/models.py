"""The baseline's one table."""

from django.db import models


class Webhook(models.Model):
    guid = models.UUIDField(unique=True)
    event = models.CharField(max_length=100)
    payload = models.JSONField()
    state = models.CharField(max_length=10, default="queued")
    waited_ms = models.FloatField(default=0)
    received_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"
