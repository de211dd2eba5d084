"""The table of GitHub's rate limits."""

from datetime import datetime

from django.db import models
from django.db.models.functions import Now


class ApiLimit(models.Model):
    """What GitHub last said of the rate limit of an installation."""

    source = models.CharField(max_length=50, help_text="The source's name.")
    installation_id = models.BigIntegerField("installation")
    until = models.DateTimeField(null=True, help_text="Until when GitHub takes no call; empty if it never refused one.")
    remaining = models.PositiveIntegerField(null=True, help_text="Calls that are left until the reset.")
    most = models.PositiveIntegerField(null=True, help_text="Calls in all, from one reset to the next.")
    resets_at = models.DateTimeField(null=True, help_text="When the limit begins anew.")
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation_id", "source"], name="api_limit_once")]

    def __str__(self) -> str:
        return f"installation {self.installation_id} of {self.source}"

    def ends_at(self, now: datetime) -> datetime:
        """Return until when jobs wait for it, if it is reached."""
        if self.until is not None and self.until > now:
            return self.until
        return self.resets_at or now
