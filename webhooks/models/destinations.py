"""Where deliveries are forwarded to. `webhooks/inbox/destinations/` writes it."""

from django.db import models
from django.db.models.functions import Now

from webhooks.destination_handlers import FAIR_BY, QUEUE, handler_of


class Destination(models.Model):
    """A handler that sends the deliveries that it matches to a URL."""

    class Signing(models.TextChoices):
        NONE = "none", "not signed"
        GITHUB = "github", "as GitHub signs (X-Hub-Signature-256)"
        STANDARD = "standard", "Standard Webhooks (webhook-signature)"

    name = models.CharField(max_length=50, unique=True)
    is_enabled = models.BooleanField(default=False)
    events = models.JSONField(help_text="Names of events; * for every event.")
    actions = models.JSONField(default=list, help_text="Actions; empty for every action.")
    repository = models.CharField(max_length=255, blank=True, help_text="A name or a glob; empty for every repository.")
    where = models.JSONField(default=dict, help_text="Dotted paths of the payload, each with what it must hold.")
    url = models.CharField(max_length=2000)
    header_names = models.JSONField(default=list, help_text="The extra headers, without their values.")
    headers = models.TextField(blank=True, help_text="The extra headers with their values, encrypted.")
    signing = models.CharField(max_length=10, choices=Signing.choices, default=Signing.NONE)
    signing_secret = models.TextField(blank=True, help_text="Encrypted.")
    time_limit = models.FloatField(default=10.0, help_text="For how many seconds the target may take to answer.")
    max_attempts = models.PositiveIntegerField(default=8)
    backoff_seconds = models.FloatField(default=10.0, help_text="The first wait; it doubles.")
    queue = models.CharField(max_length=90, default=QUEUE)
    fair_by = models.CharField(max_length=100, default=FAIR_BY, help_text="Whose jobs share the queue.")
    one_at_a_time_by = models.CharField(max_length=100, blank=True, help_text="What is sent one after another.")
    latest_only_by = models.CharField(max_length=100, blank=True, help_text="Of what only the newest waits.")
    allow_private = models.BooleanField(default=False, help_text="Whether its host may have a private address.")
    version = models.PositiveIntegerField(default=1, help_text="Rises with each change, so that processes notice.")
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=150)
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150)

    succeeded_at = models.DateTimeField(null=True, help_text="When it last took a delivery, to ten seconds.")
    failed_at = models.DateTimeField(null=True, help_text="When it last failed in a way that its breaker counts.")
    failure = models.CharField(max_length=500, blank=True, help_text="How.")
    failures = models.PositiveIntegerField(default=0, help_text="How many such failures one after another.")
    opened_at = models.DateTimeField(null=True, help_text="Since when its breaker is open.")
    next_try_at = models.DateTimeField(null=True, help_text="From when on one job may try whether it answers again.")
    tries = models.PositiveIntegerField(default=0, help_text="How many such tries have failed.")

    def __str__(self) -> str:
        return self.name

    @property
    def handler(self) -> str:
        return handler_of(self.name)
