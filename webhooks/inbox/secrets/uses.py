"""Notes which secrets receivers have, and when each last matched, by fingerprint: also those of the environment."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Q, Value
from django.db.models.functions import Now

from webhooks.models import SecretUse

Named = tuple[str, str]
"""A secret by its source and its fingerprint."""


def note_known(secrets: Iterable[Named]) -> None:
    """Note that a receiver has these secrets, for each that none had before."""
    rows = [SecretUse(source=source, fingerprint=fingerprint) for source, fingerprint in secrets]
    SecretUse.objects.bulk_create(rows, ignore_conflicts=True)


def note_used(ages: Mapping[Named, float]) -> None:
    """Note how many seconds ago secrets matched. A later use that another receiver has noted stays."""
    for (source, fingerprint), seconds in ages.items():
        ago = Value(timedelta(seconds=seconds), output_field=DurationField())
        at = ExpressionWrapper(Now() - ago, output_field=DateTimeField())
        rows = SecretUse.objects.filter(source=source, fingerprint=fingerprint)
        rows.filter(Q(last_used_at=None) | Q(last_used_at__lt=at)).update(last_used_at=at)


def uses() -> dict[Named, SecretUse]:
    """Return what was noted of each secret."""
    return {(use.source, use.fingerprint): use for use in SecretUse.objects.all()}
