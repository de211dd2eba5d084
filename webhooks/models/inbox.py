"""The inbox's tables. Rows only: what may change, and how, is in `inbox/store.py` and `inbox/transitions.py`.

The indexes are made for ten million deliveries. Each state except `succeeded` has a partial index on (sort column, id)
with this one state as the condition: with an IN list in the condition, neither PostgreSQL's generic plan nor SQLite
would use the index.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from webhooks.states import AttemptOutcome, JobState


class Source(models.Model):
    """A place that sends webhooks to Hookline: the github.com App, or a GitHub Enterprise Server."""

    name = models.SlugField(unique=True)
    url = models.URLField(default="https://github.com")
    created_at = models.DateTimeField(db_default=Now())
    encoded_secret_at = models.DateTimeField(
        null=True, blank=True, help_text="When a delivery of it last carried a secret in a header."
    )

    def __str__(self) -> str:
        return self.name


class Delivery(models.Model):
    """One POST from GitHub that was verified."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT)
    hook_id = models.BigIntegerField(help_text="X-GitHub-Hook-ID; 0 where the header was absent.")
    guid = models.UUIDField("GUID", help_text="X-GitHub-Delivery; a redelivery keeps it.")
    event = models.CharField(max_length=100)
    action = models.CharField(max_length=100, blank=True)
    repository = models.CharField(max_length=255, blank=True, help_text="Full name.")
    installation_id = models.BigIntegerField(null=True, blank=True)
    sender = models.CharField(max_length=100, blank=True, help_text="Login.")
    secret_fingerprint = models.CharField(max_length=12, help_text="Which of the source's secrets signed it.")
    headers = models.JSONField(help_text="The allow-listed request headers.")
    body_bytes = models.PositiveIntegerField(help_text="Length of the body in clear.")
    redacted = models.JSONField(
        null=True, blank=True, help_text="How many values each path of HOOKLINE_REDACT has replaced."
    )
    received_at = models.DateTimeField(db_default=Now())
    repeats = models.PositiveIntegerField(default=0, help_text="How often the same delivery came again.")
    last_repeat_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            # Not the GUID alone: it names the event, and two hooks or two sources may send the same event.
            models.UniqueConstraint(fields=["source", "hook_id", "guid"], name="delivery_once"),
        ]
        indexes = [
            models.Index(fields=["guid"], name="delivery_guid"),
            models.Index(fields=["received_at", "id"], name="delivery_received"),
            models.Index(fields=["event", "received_at", "id"], name="delivery_event"),
            # With pattern operators PostgreSQL uses it, in any collation, for a search by the start of a name.
            models.Index(
                fields=["repository", "received_at", "id"],
                name="delivery_repository",
                opclasses=["varchar_pattern_ops", "timestamptz_ops", "int8_ops"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"


class Payload(models.Model):
    """A delivery's body, in a table of its own: lists never read it, and it can be pruned before its delivery."""

    delivery = models.OneToOneField(Delivery, on_delete=models.CASCADE, primary_key=True)
    body = models.BinaryField(help_text="The raw body, or what `inbox/kept_bodies.py` has made of it.")

    def __str__(self) -> str:
        return f"payload of delivery {self.delivery_id}"


class Job(models.Model):
    """One handler's work for one delivery.

    `attempt` only ever rises and names the run that may record. When an operator says "run again", a new budget
    (`forgiven`, `lost`, `budget_from_*`) begins; its age counts from the first claim after that. `inbox/outcomes.py`
    says how many attempts of `max_attempts` are spent.
    """

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="jobs", db_index=False)
    handler = models.CharField(max_length=200)
    queue = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now(), help_text="A retrying job cannot be claimed before this.")
    publish_at = models.DateTimeField(
        null=True, blank=True, help_text="While it waits: from when on a worker may claim it. Else empty."
    )
    attempt = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveIntegerField()
    forgiven = models.PositiveIntegerField(default=0, help_text="Runs that were handed back; they cost no attempt.")
    lost = models.PositiveIntegerField(default=0, help_text="Runs lost with their worker; they have their own bound.")
    budget_from_attempt = models.PositiveIntegerField(default=0)
    # The first claim sets it again: the time before a job's first run, even if it is days, does not count as age.
    budget_from_at = models.DateTimeField(db_default=Now())
    worker = models.CharField(
        max_length=255, blank=True, db_default="", help_text="The node name of the worker that claimed it last."
    )
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="When that was.")
    started_at = models.DateTimeField(
        null=True, blank=True, help_text="When its run began; written only for a job that was lost before."
    )
    lease_until = models.DateTimeField(null=True, blank=True, help_text="Until when a worker owns the running job.")
    finished_at = models.DateTimeField(null=True, blank=True)
    result = models.CharField(max_length=500, blank=True, help_text="What the handler returned.")
    error = models.CharField(max_length=500, blank=True, help_text="Why the last run did not succeed.")
    fingerprint = models.CharField(max_length=16, blank=True, help_text="Handler and error, to group failures by.")
    once_key = models.CharField(
        max_length=300,
        null=True,
        blank=True,
        help_text="Source, GUID and handler, where there is one job for an event that several hooks send.",
    )
    fair_key = models.CharField(max_length=200, null=True, blank=True, help_text="Whose job it is, in a shared queue.")
    order_key = models.CharField(
        max_length=300, null=True, blank=True, help_text="Of the jobs with the same key, one runs at a time."
    )
    latest_key = models.CharField(
        max_length=300, null=True, blank=True, help_text="Of the jobs with the same key, only the newest waits."
    )
    turn_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was its turn among the jobs with the same order key."
    )
    superseded_by = models.BigIntegerField(null=True, blank=True, help_text="The newer job for which it was skipped.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["delivery", "handler"], name="job_once"),
            # Only jobs with a key are in this index: the others cost nothing.
            models.UniqueConstraint(fields=["once_key"], name="event_once", condition=Q(once_key__isnull=False)),
            # One job of a key runs, or may be claimed: the one whose turn it is (`inbox/turns.py`).
            models.UniqueConstraint(
                fields=["order_key"],
                name="job_turn",
                condition=Q(order_key__isnull=False) & (Q(state="running") | Q(publish_at__isnull=False)),
            ),
        ]
        indexes = [
            models.Index(
                fields=["queue", "publish_at", "id"], name="job_publish", condition=Q(publish_at__isnull=False)
            ),
            models.Index(fields=["created_at", "id"], name="job_created"),
            models.Index(fields=["created_at", "id"], name="job_queued", condition=Q(state="queued")),
            models.Index(fields=["lease_until", "id"], name="job_running", condition=Q(state="running")),
            models.Index(fields=["due_at", "id"], name="job_retrying", condition=Q(state="retrying")),
            models.Index(fields=["finished_at", "id"], name="job_dead", condition=Q(state="dead")),
            models.Index(fields=["fingerprint", "finished_at", "id"], name="job_issue", condition=Q(state="dead")),
            models.Index(fields=["finished_at", "id"], name="job_skipped", condition=Q(state="skipped")),
            # A replay reads them in the order of their ids, so that what it has read stays behind it.
            models.Index(fields=["id"], name="job_dead_id", condition=Q(state="dead")),
            models.Index(fields=["id"], name="job_skipped_id", condition=Q(state="skipped")),
            # Only jobs with keys are in these: the others cost nothing.
            models.Index(
                fields=["queue", "fair_key", "publish_at", "id"],
                name="job_fair",
                condition=Q(fair_key__isnull=False, publish_at__isnull=False),
            ),
            models.Index(
                fields=["order_key", "id"],
                name="job_order_queued",
                condition=Q(order_key__isnull=False, state="queued"),
            ),
            models.Index(
                fields=["order_key", "due_at", "id"],
                name="job_order_retrying",
                condition=Q(order_key__isnull=False, state="retrying"),
            ),
            models.Index(
                fields=["latest_key", "id"],
                name="job_latest",
                condition=Q(latest_key__isnull=False, finished_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.handler} #{self.pk}"


class Attempt(models.Model):
    """One run of a job: when, where and how it ended."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=255, help_text="The worker's node name.")
    pid = models.PositiveIntegerField("process id")
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=12, choices=AttemptOutcome.choices, blank=True)
    message = models.CharField(max_length=500, blank=True, help_text="The result, or the error.")
    traceback = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="attempt_once")]

    def __str__(self) -> str:
        return f"attempt {self.number} of job {self.job_id}"
