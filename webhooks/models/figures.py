"""What happened, counted by minute and by hour: every chart and large total of the console reads these rows.

`webhooks/inbox/figures/` makes them from the rows of deliveries and attempts, and each receiver adds what it answered,
since a request that was refused leaves no other row.
"""

from django.db import models
from django.db.models.functions import Now


class Kind(models.TextChoices):
    """What a row counts."""

    RECEIVED = "received"
    """Deliveries by event, at the minute at which they were received."""
    RAN = "ran"
    """Attempts by queue, handler, event and outcome, at the minute at which they ended."""
    ANSWERED = "answered"
    """Requests by result (in `outcome`), for hours only: by minute they are `AnswerMinute`."""


class Durations(models.Model):
    """How many, how long together, and how many in each bucket; `inbox/figures/histogram.py` has the bounds."""

    count = models.PositiveIntegerField(default=0)
    seconds = models.FloatField(default=0.0, help_text="All of their durations together.")
    took_0 = models.PositiveIntegerField(default=0)
    took_1 = models.PositiveIntegerField(default=0)
    took_2 = models.PositiveIntegerField(default=0)
    took_3 = models.PositiveIntegerField(default=0)
    took_4 = models.PositiveIntegerField(default=0)
    took_5 = models.PositiveIntegerField(default=0)
    took_6 = models.PositiveIntegerField(default=0)
    took_7 = models.PositiveIntegerField(default=0)
    took_8 = models.PositiveIntegerField(default=0)
    took_9 = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class Figures(Durations):
    """One minute or hour of one kind, queue, handler, event and outcome; what a kind does not tell apart is empty."""

    at = models.DateTimeField(help_text="When the minute or the hour began.")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    queue = models.CharField(max_length=100, blank=True)
    handler = models.CharField(max_length=200, blank=True)
    event = models.CharField(max_length=100, blank=True)
    outcome = models.CharField(max_length=20, blank=True)
    waits = models.PositiveIntegerField(default=0, help_text="How many of them were a job's first run.")
    wait_seconds = models.FloatField(default=0.0, help_text="How long those jobs had waited for it, together.")
    waited_0 = models.PositiveIntegerField(default=0)
    waited_1 = models.PositiveIntegerField(default=0)
    waited_2 = models.PositiveIntegerField(default=0)
    waited_3 = models.PositiveIntegerField(default=0)
    waited_4 = models.PositiveIntegerField(default=0)
    waited_5 = models.PositiveIntegerField(default=0)
    waited_6 = models.PositiveIntegerField(default=0)
    waited_7 = models.PositiveIntegerField(default=0)
    waited_8 = models.PositiveIntegerField(default=0)
    waited_9 = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M}"


class FigureMinute(Figures):
    """One minute."""

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["at", "kind", "queue", "handler", "event", "outcome"], name="figure_minute_once"
            )
        ]


class FigureHour(Figures):
    """One hour, made of its minutes."""

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["at", "kind", "queue", "handler", "event", "outcome"], name="figure_hour_once"
            )
        ]


class AnswerMinute(Durations):
    """What one receiver answered in one minute, with one result. The receiver writes it, by its own clock."""

    at = models.DateTimeField(help_text="When the minute began.")
    receiver = models.CharField(max_length=100, help_text="One process of a receiver; another one has another name.")
    result = models.CharField(max_length=20)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["at", "receiver", "result"], name="answer_minute_once")]

    def __str__(self) -> str:
        return f"{self.result} at {self.at:%Y-%m-%d %H:%M}"


class QueueMinute(models.Model):
    """How much waited in a queue in one minute: the most that was seen, and the longest that a job had waited."""

    at = models.DateTimeField(help_text="When the minute began.")
    queue = models.CharField(max_length=100)
    jobs = models.PositiveIntegerField()
    oldest_seconds = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["at", "queue"], name="queue_minute_once")]

    def __str__(self) -> str:
        return f"{self.queue} at {self.at:%Y-%m-%d %H:%M}"


class FigureMark(models.Model):
    """How far the figures are made. There is one row."""

    minutes_until = models.DateTimeField(help_text="Minutes before this moment are final.")
    hours_until = models.DateTimeField(help_text="Hours before this moment are final.")
    written_at = models.DateTimeField(help_text="When a relay made figures last.")
    resumed_at = models.DateTimeField(help_text="Since when they are made without a gap.")

    def __str__(self) -> str:
        return f"figures until {self.minutes_until:%Y-%m-%d %H:%M}"


class Release(models.Model):
    """A release of Hookline, or of the image that it runs in, and when it was first seen."""

    name = models.CharField(max_length=100, unique=True)
    first_seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["first_seen_at"], name="release_seen")]

    def __str__(self) -> str:
        return self.name
