"""Replays: jobs that people had run again by a filter, and stored deliveries that a new handler was given.

`webhooks/inbox/replays/` decides what is in them and carries them out.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from webhooks.models.audit import Change
from webhooks.models.inbox import Delivery, Job


class Replay(models.Model):
    """One replay. What is in it is frozen as it is confirmed: it holds no row that came, or ended, later."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        CANCELLED = "cancelled"
        FINISHED = "finished"

    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    is_active = models.BooleanField(
        default=True, help_text="Whether it has jobs to queue, or jobs that have not ended."
    )
    filters = models.JSONField(help_text="What is in it, as `Scope.as_json` returns it.")
    last_id = models.BigIntegerField(help_text="The last job, or delivery, that there was when it was confirmed.")
    rate = models.FloatField(help_text="How many jobs a second at most.")
    reason = models.CharField(max_length=500)
    asked_by = models.CharField(max_length=150)
    change = models.ForeignKey(Change, null=True, on_delete=models.SET_NULL, related_name="+")

    total = models.PositiveIntegerField(null=True, help_text="How many jobs are in it; empty while they are counted.")
    by_handler = models.JSONField(default=dict, help_text="How many are counted, by handler.")
    without_payload = models.PositiveIntegerField(default=0, help_text="Matches that are left: no payload to run on.")
    counted_to = models.BigIntegerField(default=0, help_text="The last row that was looked at to count them.")

    cursor = models.BigIntegerField(default=0, help_text="The last row that was looked at to run them.")
    has_reached_end = models.BooleanField(default=False)
    released = models.PositiveIntegerField(default=0, help_text="How many jobs it has queued.")
    done = models.PositiveIntegerField(default=0, help_text="How many of them have succeeded.")
    failed = models.PositiveIntegerField(default=0, help_text="How many of them are dead again.")
    skipped = models.PositiveIntegerField(default=0, help_text="How many were given up, or changed before their turn.")

    created_at = models.DateTimeField(db_default=Now())
    cut_at = models.DateTimeField(help_text="When it was confirmed, by the database's clock: later ends do not count.")
    released_at = models.DateTimeField(null=True, help_text="When it queued jobs last.")
    finished_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, blank=True, help_text="Who cancelled it.")

    class Meta:
        indexes = [
            models.Index(fields=["created_at", "id"], name="replay_created"),
            models.Index(fields=["id"], name="replay_active", condition=Q(is_active=True)),
            models.Index(fields=["finished_at", "id"], name="replay_finished", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"replay {self.pk}"


class ReplayItem(models.Model):
    """A job of a replay that has not ended, or has not succeeded. Once it has succeeded, the row is removed."""

    replay = models.ForeignKey(Replay, on_delete=models.CASCADE, related_name="items", db_index=False)
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="+", db_index=False)
    handler = models.CharField(max_length=200)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    was = models.CharField(max_length=10, blank=True, help_text="The job's state before; empty if it was made.")
    is_open = models.BooleanField(default=True)
    error = models.CharField(max_length=500, blank=True, help_text="Why the job did not succeed.")

    class Meta:
        indexes = [
            models.Index(fields=["replay", "id"], name="replay_item_open", condition=Q(is_open=True)),
            models.Index(fields=["replay", "id"], name="replay_item_failed", condition=Q(is_open=False)),
        ]

    def __str__(self) -> str:
        return f"{self.handler} of delivery {self.delivery_id} in replay {self.replay_id}"
