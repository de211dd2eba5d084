"""Why a job that is not final does not run at this moment, or since when it does: one true sentence. Without I/O.

It says what `due.py`, the claims, the leases and `outcomes.py` decide, in their order, of the facts that
`waiting_values.py` has. A figure that is not known is left out.
"""

from datetime import UTC, datetime, timedelta

from webhooks.durations import rough
from webhooks.inbox.due import REPEATED_SECONDS
from webhooks.inbox.waiting_values import MOST_AHEAD, Claim, Facts, Kind, Waiting
from webhooks.states import AttemptOutcome, JobState

_ENDINGS = {
    AttemptOutcome.SOFT_LIMIT: "reached its soft time limit",
    AttemptOutcome.HARD_LIMIT: "reached its hard time limit",
    AttemptOutcome.RETRY_LATER: "asked to run later",
    AttemptOutcome.HANDED_BACK: "was handed back as its worker stopped",
    AttemptOutcome.CRASHED: "ended with its process",
    AttemptOutcome.LOST: "was lost with its worker",
}


def why(facts: Facts) -> Waiting | None:
    """Return why a job waits; None if it is final."""
    if facts.state == JobState.RUNNING:
        return _of_running(facts)
    if facts.state not in (JobState.QUEUED, JobState.RETRYING):
        return None
    for answer in (_held, _limited, _not_due, _in_order, _stray, _unconsumed, _behind_others):
        if (found := answer(facts)) is not None:
            return found
    return _next(facts)


# --- It waits ---------------------------------------------------------------------------------------------------------


def _held(facts: Facts) -> Waiting | None:
    held = facts.held
    if held is None:
        return None
    sentence = f"The {held.what} is paused by {held.who} since {_clock(held.since, now=facts.now)} (“{held.reason}”)"
    if _seconds_until_due(facts) > 0:
        return Waiting(kind=Kind.PAUSED, sentence=f"{sentence}; and this job is due {_when_due(facts)}.")
    return Waiting(kind=Kind.PAUSED, sentence=f"{sentence}; its jobs wait until somebody resumes it.")


def _limited(facts: Facts) -> Waiting | None:
    limit = facts.limit
    if limit is None:
        return None
    until = _clock(limit.until, now=facts.now)
    return Waiting(
        kind=Kind.API_LIMIT, sentence=f"GitHub's rate limit of installation {limit.installation_id} until {until}."
    )


def _not_due(facts: Facts) -> Waiting | None:
    if _seconds_until_due(facts) <= 0:
        return None
    return Waiting(kind=Kind.NOT_DUE, sentence=f"Due {_when_due(facts)}.")


def _in_order(facts: Facts) -> Waiting | None:
    turn = facts.turn
    if turn is None:
        return None
    doing = "runs now" if turn.state == JobState.RUNNING else "comes first"
    same = f"the same {turn.key.replace('_', ' ')}" if turn.key else "the same key"
    more = f"more than {MOST_AHEAD:,}" if turn.ahead > MOST_AHEAD else f"{turn.ahead:,}"
    others = f", and {more} more {'is' if turn.ahead == 1 else 'are'} before it" if turn.ahead else ""
    sentence = f"It waits for job {turn.job_id} of {same}, which {doing}{others}: one of them runs at a time."
    return Waiting(kind=Kind.IN_ORDER, sentence=sentence, job_id=turn.job_id)


def _stray(facts: Facts) -> Waiting | None:
    if facts.handler_queue is None:
        return Waiting(
            kind=Kind.NO_HANDLER,
            sentence=f"No installed app has a handler named {facts.handler}: no worker takes it, and if that stays so,"
            " a relay ends it as dead.",
        )
    if facts.handler_queue != facts.queue:
        return Waiting(
            kind=Kind.MOVING,
            sentence=f"It waits in the queue {facts.queue}, and its handler now has the queue {facts.handler_queue}:"
            " a relay moves it there within seconds.",
        )
    return None


def _unconsumed(facts: Facts) -> Waiting | None:
    if facts.fleet.ready:
        return None
    if not facts.fleet.reporting:
        sentence = f"Nobody is known to consume the queue {facts.queue}: no worker has reported lately."
    elif facts.fleet.reporting == 1:
        sentence = f"Nobody consumes the queue {facts.queue}: the one worker that reports takes none of its jobs."
    else:
        reporting = f"none of the {facts.fleet.reporting:,} workers that report takes its jobs"
        sentence = f"Nobody consumes the queue {facts.queue}: {reporting}."
    return Waiting(kind=Kind.NO_CONSUMER, sentence=sentence)


def _behind_others(facts: Facts) -> Waiting | None:
    if not facts.ahead:
        return None
    is_more = facts.ahead > MOST_AHEAD
    count = f"More than {MOST_AHEAD:,}" if is_more else f"{facts.ahead:,}"
    older = "job of this queue is older" if facts.ahead == 1 else "jobs of this queue are older"
    return Waiting(kind=Kind.BEHIND_OTHERS, sentence=f"{count} {older}, and {_speed(facts, is_more=is_more)}.")


def _speed(facts: Facts, *, is_more: bool) -> str:
    who = "1 worker takes" if facts.fleet.ready == 1 else f"{facts.fleet.ready:,} workers take"
    rate = facts.jobs_a_second
    if not rate:
        return f"{who} them, with {_slots(facts.fleet.slots)}"
    about = f"{rate:,.0f} a second" if rate >= 1 else f"{rate * 60:,.0f} a minute"
    wait = rough(timedelta(seconds=max(1.0, min(facts.ahead, MOST_AHEAD) / rate)))
    return f"{who} about {about}, so {'more than' if is_more else 'about'} {wait}"


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count:,} slots"


def _next(facts: Facts) -> Waiting:
    fleet, due_for = facts.fleet, -_seconds_until_due(facts)
    first = f"It is the next of the queue {facts.queue}"
    if not fleet.free_slots:
        workers = "1 worker" if fleet.ready == 1 else f"{fleet.ready:,} workers"
        sentence = f"{first}, and no slot of {workers} is free ({fleet.slots:,} in all)."
    elif due_for <= REPEATED_SECONDS:
        sentence = f"{first}, and has been due for {_seconds(due_for)}: a worker claims it any moment."
    else:
        sentence = (
            f"{first}, and has been due for {_seconds(due_for)}: the messages for it were lost, or led to"
            f" nothing, and a relay sends another within {REPEATED_SECONDS:.0f} s."
        )
    return Waiting(kind=Kind.NEXT, sentence=sentence)


def _when_due(facts: Facts) -> str:
    return f"in {_seconds(_seconds_until_due(facts))}{_after(facts)}"


def _after(facts: Facts) -> str:
    """Return ", after attempt 2 of 5 failed"; empty before the first."""
    if not facts.last_outcome:
        return ""
    ending = _ENDINGS.get(AttemptOutcome(facts.last_outcome), "failed")
    if facts.last_outcome in (AttemptOutcome.LOST, AttemptOutcome.HANDED_BACK, AttemptOutcome.RETRY_LATER):
        return f", after a run {ending}; {facts.spent} of {facts.max_attempts} attempts are spent"
    return f", after attempt {facts.spent} of {facts.max_attempts} {ending}"


def _seconds_until_due(facts: Facts) -> float:
    return (facts.publish_at - facts.now).total_seconds() if facts.publish_at else 0.0


# --- It runs ----------------------------------------------------------------------------------------------------------


def _of_running(facts: Facts) -> Waiting:
    claim = facts.claim
    assert claim is not None
    lease_seconds = (claim.lease_until - facts.now).total_seconds() if claim.lease_until else 0.0
    worker = claim.worker or "a worker"
    if lease_seconds <= 0:
        return Waiting(
            kind=Kind.LOST,
            sentence=f"Its run on {worker} is lost: its lease ended {_seconds(-lease_seconds)} ago."
            f" A relay records that within seconds, and {claim.fate}.",
        )
    lease = f"its lease ends in {_seconds(lease_seconds)}, and then {claim.fate}"
    if claim.has_stopped:
        silent = f" and has not reported for {_seconds(claim.silent_seconds)}" if claim.silent_seconds else ""
        return Waiting(kind=Kind.LOST, sentence=f"Its worker seems lost: it is {worker}{silent}; {lease}.")
    return _with_a_worker(facts.now, claim, worker, lease)


def _with_a_worker(now: datetime, claim: Claim, worker: str, lease: str) -> Waiting:
    if claim.ran_seconds is not None:
        limit = f" of {_seconds(claim.limit_seconds)}" if claim.limit_seconds else ""
        process = f", process {claim.pid}" if claim.pid else ""
        sentence = f"Runs now on {worker}{process}, for {_seconds(claim.ran_seconds)}{limit}."
        return Waiting(kind=Kind.RUNNING, sentence=sentence)
    since = (now - claim.since).total_seconds() if claim.since else 0.0
    claimed = f"by {worker} {_seconds(since)} ago"
    if claim.silent_seconds is None:
        return Waiting(kind=Kind.CLAIMED, sentence=f"Claimed {claimed}, which reports nothing of its runs; {lease}.")
    if claim.silent_seconds > since:
        return Waiting(kind=Kind.CLAIMED, sentence=f"Claimed {claimed}; the worker has not reported since.")
    return Waiting(
        kind=Kind.CLAIMED,
        sentence=f"Claimed ahead {claimed}, and not begun as the worker reported {_seconds(claim.silent_seconds)} ago.",
    )


# --- Words ------------------------------------------------------------------------------------------------------------


def _clock(at: datetime, *, now: datetime) -> str:
    """Return "14:02 UTC", with the date if it is not today."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"


def _seconds(seconds: float | None) -> str:
    """Return "12 s" or "4 min"."""
    distance = timedelta(seconds=max(0.0, seconds or 0.0))
    return rough(distance) if distance >= timedelta(seconds=1) else "less than 1 s"
