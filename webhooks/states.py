"""The states of a job, and the outcomes of an attempt. The inbox and the log lines use these words."""

from django.db.models import TextChoices


class JobState(TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    SKIPPED = "skipped"


class AttemptOutcome(TextChoices):
    """How an attempt ended. Empty if the release before wrote it, for a run that goes on."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SOFT_LIMIT = "soft_limit", "soft time limit"
    HARD_LIMIT = "hard_limit", "hard time limit"
    RETRY_LATER = "retry_later", "retry later"
    GAVE_UP = "gave_up", "gave up"
    HANDED_BACK = "handed_back", "handed back"
    CRASHED = "crashed"
    LOST = "lost"
