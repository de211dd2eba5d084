"""Queues and handlers whose jobs an operator lets wait."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Pause(models.Model):
    """A time during which no worker claims the jobs of one queue, or of one handler. It holds until `resumed_at`."""

    class Kind(models.TextChoices):
        PERSON = "", "by a person"
        OFF = "off", "the destination is switched off"
        BREAKER = "breaker", "the destination's breaker is open"

    kind = models.CharField(max_length=10, choices=Kind.choices, blank=True, default=Kind.PERSON, db_default="")
    queue = models.CharField(max_length=100, blank=True, help_text="The queue; empty if a handler is paused.")
    handler = models.CharField(max_length=200, blank=True, help_text="The handler; empty if a queue is paused.")
    reason = models.CharField(max_length=500)
    paused_by = models.CharField(max_length=150)
    paused_at = models.DateTimeField(db_default=Now())
    resumed_by = models.CharField(max_length=150, blank=True)
    resumed_at = models.DateTimeField(null=True, blank=True)
    admitted_job = models.BigIntegerField(
        null=True, blank=True, help_text="The one job of a paused handler that may be claimed all the same."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(queue="", handler__gt="") | Q(queue__gt="", handler=""), name="pause_of_one"
            ),
            models.UniqueConstraint(
                fields=["queue", "handler", "kind"], name="pause_once", condition=Q(resumed_at=None)
            ),
        ]

    def __str__(self) -> str:
        return f"pause of {self.queue or self.handler}"
