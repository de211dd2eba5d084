"""Tokens by which people take deliveries off this installation, and the mark of what was pulled from another one."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from webhooks.models.inbox import Delivery


class Token(models.Model):
    """A person's token for the API. It may do what its user may at the time of use. The token itself is not stored."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=60, help_text="What its user calls it: the machine that it is kept on.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token, which is random.")
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, help_text="Written at most once a minute.")
    not_after = models.DateTimeField(help_text="From then on it is refused.")
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        # Nobody is given rights on tokens: each user has their own, and the page says who sees those of others.
        default_permissions = ()

    def __str__(self) -> str:
        return f"token {self.pk}"


class Pull(models.Model):
    """That a delivery did not come by itself but was pulled from another installation."""

    # Without a constraint: a relay of the release before removes old deliveries, and knows nothing of this table.
    delivery = models.OneToOneField(
        Delivery, on_delete=models.CASCADE, primary_key=True, related_name="pull", db_constraint=False
    )
    host = models.CharField(max_length=255, help_text="Where it was pulled from, such as hooks.example.com.")
    source = models.CharField(max_length=50, help_text="The name of its source there.")
    received_at = models.DateTimeField(help_text="When it was received there.")
    who = models.CharField(max_length=150, help_text="The account that pulled it.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"pull of delivery {self.delivery_id}"
