"""Makes up a day of deliveries in an empty inbox: `python -m tests.console.day 10000`.

Most succeeded. For four hours the chat did not answer, and what it was to be told of is dead; some pull
requests fail for a fault of the handler; nobody consumes the queue `slow`. The same every time, but for the GUIDs.
"""

import json
import random
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import django
from django.db import transaction
from django.utils import timezone

EVENTS = {
    "push": ("", 34, "team.scan_push", "default"),
    "pull_request": ("opened", 22, "team.label_pull_request", "default"),
    "issues": ("opened", 12, "", ""),
    "issue_comment": ("created", 34, "team.notify_chat", "chat"),
    "workflow_run": ("completed", 6, "team.mirror_release", "slow"),
    "star": ("created", 8, "", ""),
}
"""Each event's action, how many of a hundred deliveries it is, and its handler with its queue."""
REPOSITORIES = ("acme/widgets", "acme/gears", "acme/site", "acme/docs", "acme/infrastructure")
SENDERS = ("octo", "hubot", "mona", "dependabot[bot]")
CHAT_FINGERPRINT, LABEL_FINGERPRINT = "c4a7c4a7c4a7c4a7", "1abe11abe11abe11"
LOST = "1 delivery cannot be recovered"
CHAT_ERROR = "ConnectionError: chat.example.com did not answer within 5 s"
LABEL_ERROR = "KeyError: 'head'"
TRACEBACK = """Traceback (most recent call last):
  File "/app/team/handlers.py", line {line}, in {function}
    {code}
{error}
"""


def fill(deliveries: int, *, now: datetime) -> None:
    """Store so many deliveries of the day before `now`, with their jobs and attempts."""
    from webhooks.models import AnswerMinute, Attempt, Delivery, Job, Payload, Release, Source

    draw = random.Random(8)
    source, _ = Source.objects.get_or_create(name="github")
    with transaction.atomic():
        if deliveries:
            Release.objects.create(name="0.0.9", first_seen_at=now - timedelta(days=3))
        AnswerMinute.objects.bulk_create(_answers(draw, deliveries, now=now))
        for first in range(0, deliveries, 1_000):
            moments = [
                now - timedelta(days=1) * (1 - (number + draw.random()) / deliveries)
                for number in range(first, min(first + 1_000, deliveries))
            ]
            rows = Delivery.objects.bulk_create(_delivery(draw, source, at) for at in moments)
            Payload.objects.bulk_create(Payload(delivery=row, body=_body(row)) for row in rows)
            jobs = Job.objects.bulk_create(job for row in rows for job in _jobs(draw, row, now=now))
            Attempt.objects.bulk_create(attempt for job in jobs for attempt in _attempts(draw, job))
        if deliveries:
            _recover(now)
            _forward(now)


def _recover(now: datetime) -> None:
    """Store a log of GitHub's that was read all day. A pass found three deliveries missing, and one of them gone."""
    from webhooks.models import Delivery, HookLog, LogPass, MissedDelivery, Recovery

    log = HookLog.objects.create(source="github", hook="app", hook_id=1, complete_until=now, completed_at=now)
    for hours in range(24, -1, -1):
        found = {"recovered": 2, "lost": 1, "state": "incomplete", "reason": LOST} if hours == 9 else {}
        at = now - timedelta(hours=hours)
        one = LogPass.objects.create(
            log=log,
            **{"state": "complete", "entries": 417, "calls": 5} | found,
            until=at,
            finished_at=at,
            started_at=at,
        )
        if not found:
            continue
        failed: dict[str, Any] = {"delivered_at": at - timedelta(minutes=4), "entry_id": 17_000_000_001}
        said = {"status": "timed out", "status_code": 504, "duration_seconds": 10.01, "is_redelivery": False}
        for delivery in Delivery.objects.filter(received_at__gte=at).order_by("received_at")[:2]:
            Recovery.objects.create(delivery=delivery, log_pass=one, **failed, **said)
        MissedDelivery.objects.create(
            log=log, guid=uuid.UUID(int=1), event="push", reason="gone", is_open=False, found_at=at, **failed
        )


def _forward(now: datetime) -> None:
    """Store a destination that takes what it is sent, and one whose breaker is open."""
    from webhooks.inbox.destinations import breaker, changing
    from webhooks.inbox.destinations.changing import Secrets
    from webhooks.models import Destination

    values: dict[str, Any] = {"events": ["release"], "actions": ["published"], "signing": "standard"}
    for name, repository, order in (("release-notes", "acme/*", "repository"), ("status-page", "acme/site", "")):
        changing.create(
            name,
            values | {"repository": repository, "url": f"https://{name}.example.com/hook", "one_at_a_time_by": order},
            Secrets(),
            who="mona",
        )
        changing.switch(name, on=True, who="mona")
    Destination.objects.filter(name="release-notes").update(succeeded_at=now - timedelta(minutes=3))
    for _ in range(breaker.OPENS_AFTER):
        breaker.failed("status-page", job_id=0, why="503 in 41 ms (Service Unavailable).")


def _answers(draw: random.Random, deliveries: int, *, now: datetime) -> Iterator[Any]:
    """Yield what a receiver has counted of its answers, minute by minute; it counts none of the deliveries above."""
    from webhooks.models import AnswerMinute

    for minute in range(1, 24 * 60 if deliveries else 1):
        at = now.replace(second=0, microsecond=0) - timedelta(minutes=minute)
        stored = round(deliveries / 1_440 * draw.uniform(0.6, 1.4))
        fast, slow = round(stored * 0.9), stored // 40
        took = {"took_1": fast, "took_2": stored - fast - slow, "took_4": slow}
        counts = {"stored": stored, "unsigned": int(draw.random() < 0.02), "duplicate": int(draw.random() < 0.05)}
        for result, count in counts.items():
            if count:
                spent = took if result == "stored" else {"took_1": count}
                yield AnswerMinute(
                    at=at, receiver="receiver", result=result, count=count, seconds=count * 0.012, **spent
                )


def _delivery(draw: random.Random, source: Any, at: datetime) -> Any:
    from webhooks.models import Delivery

    event = draw.choices(list(EVENTS), weights=[weight for _, weight, _, _ in EVENTS.values()])[0]
    is_again = draw.random() < 0.004
    return Delivery(
        source=source,
        hook_id=1,
        guid=uuid.uuid4(),
        event=event,
        action=EVENTS[event][0],
        repository=draw.choice(REPOSITORIES),
        installation_id=51_000_123,
        sender=draw.choice(SENDERS),
        secret_fingerprint="9f2c51d07ab3",
        headers={"Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/0000000", "X-GitHub-Event": event},
        body_bytes=draw.randint(4_000, 24_000),
        received_at=at,
        repeats=int(is_again),
        last_repeat_at=at + timedelta(minutes=7) if is_again else None,
    )


def _body(delivery: Any) -> bytes:
    body: dict[str, Any] = {
        "action": delivery.action,
        "repository": {"id": 40_000_001, "full_name": delivery.repository, "private": False, "topics": ["webhooks"]},
        "sender": {"login": delivery.sender, "id": 583_231, "type": "User"},
        "installation": {"id": delivery.installation_id},
    }
    if delivery.event == "pull_request":
        body["pull_request"] = {"number": 214, "title": "Say what a lease is", "draft": False, "labels": []}
    return json.dumps({name: value for name, value in body.items() if value}).encode()


def _jobs(draw: random.Random, delivery: Any, *, now: datetime) -> Iterator[Any]:
    from webhooks.models import Job
    from webhooks.states import JobState

    handler, queue = EVENTS[delivery.event][2:]
    if not handler:
        return
    at = delivery.received_at
    job = Job(
        delivery=delivery,
        handler=handler,
        queue=queue,
        created_at=at,
        due_at=at,
        budget_from_at=at,
        max_attempts=5,
        worker="worker@hookline-worker-7c9d-x2x5p",
    )
    is_outage = timedelta(hours=9) < now - at < timedelta(hours=13)
    if queue == "slow" and now - at < timedelta(hours=6):
        job.publish_at = at
    elif handler == "team.notify_chat" and is_outage:
        _end(job, JobState.DEAD, attempts=5, seconds=310, error=CHAT_ERROR, fingerprint=CHAT_FINGERPRINT)
    elif handler == "team.label_pull_request" and draw.random() < 0.02:
        _end(job, JobState.DEAD, attempts=5, seconds=190, error=LABEL_ERROR, fingerprint=LABEL_FINGERPRINT)
    else:
        waited = draw.uniform(0.01, 0.2)
        _end(job, JobState.SUCCEEDED, attempts=1, seconds=waited + draw.lognormvariate(-1.2, 0.7))
        job.result = "done"
    yield job


def _end(job: Any, state: str, *, attempts: int, seconds: float, error: str = "", fingerprint: str = "") -> None:
    job.state, job.attempt, job.error, job.fingerprint = state, attempts, error, fingerprint
    job.finished_at = job.created_at + timedelta(seconds=seconds)
    job.claimed_at = job.finished_at - timedelta(seconds=min(seconds, 0.4))


def _attempts(draw: random.Random, job: Any) -> Iterator[Any]:
    from webhooks.models import Attempt
    from webhooks.states import JobState

    is_dead = job.state == JobState.DEAD
    for number in range(1, job.attempt + 1):
        ran = draw.uniform(0.05, 0.4)
        later = (job.finished_at - job.created_at) * number / job.attempt
        ended = job.created_at + later
        yield Attempt(
            job=job,
            number=number,
            worker=job.worker,
            pid=draw.randint(40, 110),
            started_at=ended - timedelta(seconds=ran),
            finished_at=ended,
            outcome="failed" if is_dead else "succeeded",
            message=job.error or job.result,
            traceback=_traceback(job) if is_dead else "",
        )


def _traceback(job: Any) -> str:
    function = job.handler.partition(".")[2]
    code = "chat.post(text)" if job.error == CHAT_ERROR else 'event.payload["pull_request"]["head"]["sha"]'
    return TRACEBACK.format(line=41, function=function, code=code, error=job.error)


def _count(*, now: datetime) -> None:
    """Make the day's figures, as the relay would within some minutes."""
    from webhooks.inbox.figures.counting import count_hour, count_minute
    from webhooks.inbox.figures.making import hour_of, minute_of

    for minutes in range(24 * 60, 0, -1):
        count_minute(minute_of(now) - timedelta(minutes=minutes))
    for hours in range(24, -1, -1):
        count_hour(hour_of(now) - timedelta(hours=hours))


def main(arguments: Sequence[str]) -> None:
    django.setup()
    now = timezone.now()
    fill(int(arguments[0]), now=now)
    _count(now=now)


if __name__ == "__main__":
    main(sys.argv[1:])
