"""Webhook secrets that are kept in the database, encrypted. `webhooks/inbox/secrets/` reads and writes them."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from webhooks.models.inbox import Source


class SourceSecret(models.Model):
    """A secret that deliveries of a source may be signed with, beside those that the environment gives."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="secrets", db_index=False)
    value = models.BinaryField(help_text="Encrypted with one of HOOKLINE_ENCRYPTION_KEYS; empty once it is retired.")
    fingerprint = models.CharField(max_length=12, help_text="Names it on deliveries, and does not reveal it.")
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=150)
    not_after = models.DateTimeField(null=True, blank=True, help_text="From then on it verifies nothing.")
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_by = models.CharField(max_length=150, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "fingerprint"], name="source_secret_once", condition=Q(retired_at=None)
            ),
        ]

    def __str__(self) -> str:
        return f"secret {self.fingerprint}"


class SecretUse(models.Model):
    """Since when receivers verify with a secret, and when it last matched: also one that the environment gives."""

    source = models.CharField(max_length=50)
    fingerprint = models.CharField(max_length=12)
    since = models.DateTimeField(db_default=Now(), help_text="When a receiver first had it.")
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="A minute late at most.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "fingerprint"], name="secret_use_once")]

    def __str__(self) -> str:
        return f"use of secret {self.fingerprint}"
