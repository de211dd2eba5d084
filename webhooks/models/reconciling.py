"""What Hookline has read of GitHub's own logs of deliveries. `webhooks/reconciling/` writes it."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from webhooks.models.inbox import Delivery


class HookLog(models.Model):
    """GitHub's log of one hook's deliveries, and up to when all of it has been looked at."""

    source = models.CharField(max_length=50)
    hook = models.CharField(max_length=240, help_text="app, or the hook's address in the API: orgs/acme/hooks/123.")
    hook_id = models.BigIntegerField(null=True, help_text="X-GitHub-Hook-ID; empty while it is not known.")
    complete_until = models.DateTimeField(
        null=True, help_text="By GitHub's clock: what it logged before was looked at, or is named as a gap."
    )
    completed_at = models.DateTimeField(null=True, help_text="When the last complete pass ended.")
    created_at = models.DateTimeField(db_default=Now(), help_text="When it was read for the first time.")
    holder = models.CharField(max_length=40, blank=True, help_text="The process that reads it.")
    lease_until = models.DateTimeField(null=True, help_text="Until when no other process reads it.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "hook"], name="hook_log_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.hook}"


class LogPass(models.Model):
    """One walk through a hook's log, from the newest entry to what was seen before."""

    class State(models.TextChoices):
        RUNNING = "running"
        STOPPED = "stopped", "stopped, to be gone on with"
        COMPLETE = "complete"
        INCOMPLETE = "incomplete"

    class Mode(models.TextChoices):
        RECOVER = "recover", "take in what is missing"
        REDELIVER = "redeliver", "ask GitHub to send it again"

    log = models.ForeignKey(HookLog, on_delete=models.CASCADE, related_name="passes", db_index=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.RECOVER)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    since = models.DateTimeField(null=True, help_text="It looks at all that was delivered after this; empty: at all.")
    until = models.DateTimeField(null=True, help_text="GitHub's time when it began.")
    is_asked_since = models.BooleanField(default=False, help_text="Whether a person said since when.")
    cursor = models.CharField(max_length=500, blank=True, help_text="Where it goes on.")
    oldest_at = models.DateTimeField(null=True, help_text="When the oldest entry that it has seen was delivered.")

    calls = models.PositiveIntegerField(default=0, help_text="Calls of GitHub's API.")
    entries = models.PositiveIntegerField(default=0, help_text="Entries of the log that it has seen.")
    unwanted = models.PositiveIntegerField(default=0, help_text="Entries of events that no handler subscribes to.")
    recovered = models.PositiveIntegerField(default=0, help_text="Deliveries that it has taken in.")
    asked = models.PositiveIntegerField(default=0, help_text="Redeliveries that it has asked for.")
    lost = models.PositiveIntegerField(default=0, help_text="Deliveries that cannot be recovered.")
    unfetched = models.PositiveIntegerField(default=0, help_text="Deliveries that the next pass tries again.")
    gap_from = models.DateTimeField(null=True, help_text="Since when entries may have left the log unseen.")
    gap_until = models.DateTimeField(null=True, help_text="Until when; empty if there is no gap.")
    reason = models.CharField(max_length=500, blank=True, help_text="Why it stopped, or is incomplete.")

    class Meta:
        indexes = [
            models.Index(fields=["started_at", "id"], name="pass_started"),
            models.Index(fields=["log", "started_at", "id"], name="pass_of_log"),
            models.Index(fields=["log"], name="pass_open", condition=Q(finished_at=None)),
        ]

    def __str__(self) -> str:
        return f"pass {self.pk} of {self.log_id}"


class MissedDelivery(models.Model):
    """A delivery that is in GitHub's log, is not in the inbox, and could not be taken in."""

    class Reason(models.TextChoices):
        GONE = "gone", "GitHub's log no longer has its payload"
        UNREADABLE = "unreadable", "its payload cannot be read"
        REFUSED = "refused", "the database refuses it"
        UNFETCHED = "unfetched", "GitHub did not answer"

    log = models.ForeignKey(HookLog, on_delete=models.CASCADE, related_name="missed", db_index=False)
    guid = models.UUIDField("GUID")
    entry_id = models.BigIntegerField(help_text="GitHub's id of the entry.")
    event = models.CharField(max_length=100)
    action = models.CharField(max_length=100, blank=True)
    delivered_at = models.DateTimeField()
    reason = models.CharField(max_length=10, choices=Reason.choices)
    is_open = models.BooleanField(help_text="Whether the next pass tries it again.")
    found_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "missed deliveries"
        constraints = [models.UniqueConstraint(fields=["log", "guid"], name="missed_once")]
        indexes = [
            models.Index(fields=["log", "id"], name="missed_open", condition=Q(is_open=True)),
            models.Index(fields=["found_at", "id"], name="missed_found"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"


class Recovery(models.Model):
    """That a delivery did not come by itself but was taken from GitHub's log, and what GitHub says of its sending."""

    # Without a constraint: a relay of the release before removes old deliveries, and knows nothing of this table.
    delivery = models.OneToOneField(
        Delivery, on_delete=models.CASCADE, primary_key=True, related_name="recovery", db_constraint=False
    )
    log_pass = models.ForeignKey(LogPass, on_delete=models.SET_NULL, null=True, related_name="+")
    entry_id = models.BigIntegerField(help_text="GitHub's id of the entry.")
    delivered_at = models.DateTimeField(help_text="When GitHub tried to deliver it.")
    duration_seconds = models.FloatField(help_text="How long that took.")
    status = models.CharField(max_length=200, help_text="How it ended, in GitHub's words.")
    status_code = models.IntegerField()
    throttled_at = models.DateTimeField(null=True, help_text="When GitHub held it back.")
    is_redelivery = models.BooleanField()

    class Meta:
        verbose_name_plural = "recoveries"

    def __str__(self) -> str:
        return f"recovery of delivery {self.delivery_id}"
