"""What workers report of themselves, and what people ask of them. The console reads it here and needs no broker."""

from django.db import models
from django.db.models.functions import Now

from webhooks.models.inbox import Job


class WorkerReport(models.Model):
    """What one worker said of itself last. It writes the row anew every few seconds, from its dispatcher."""

    class State(models.TextChoices):
        STARTING = "starting", "connecting"
        READY = "ready", "ready"
        DRAINING = "draining", "draining"
        STOPPED = "stopped", "stopped"

    worker = models.CharField(max_length=255, unique=True, help_text="The worker's node name.")
    release = models.CharField(max_length=100, blank=True, help_text="The version or image that it runs.")
    queues = models.JSONField(default=list, help_text="The names of the queues that it consumes from.")
    state = models.CharField(max_length=10, choices=State.choices)
    slots = models.PositiveIntegerField(help_text="How many handlers it can run at once.")
    busy = models.PositiveIntegerField(help_text="How many it runs.")
    memory_bytes = models.BigIntegerField(null=True, blank=True, help_text="Of all its processes, shared pages once.")
    running = models.JSONField(default=list, help_text="Each run: job, attempt, handler, pid, seconds it has run.")
    started_at = models.DateTimeField()
    reported_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.worker


class WorkerRequest(models.Model):
    """What a person asks one worker to do. The worker reads its own with each report, and answers."""

    class Kind(models.TextChoices):
        STOP = "stop", "stop after its current jobs"
        STACK = "stack", "show a running job's stack"

    worker = models.CharField(max_length=255)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # Without a constraint: retention removes a job with all that it knows of, and a request only lives for a day.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, blank=True, related_name="+", db_constraint=False)
    attempt = models.PositiveIntegerField(null=True, blank=True)
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True, blank=True)
    answer = models.TextField(blank=True, help_text="The stack, or why there is none.")

    class Meta:
        indexes = [
            models.Index(fields=["worker", "id"], name="request_open", condition=models.Q(answered_at=None)),
            models.Index(fields=["asked_at"], name="request_asked"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} asked of {self.worker}"
