"""What an attempt's outcome means for its job."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.inbox.outcomes import (
    HANDS_BACK,
    LONGEST_DELAY_SECONDS,
    LONGEST_TEXT,
    LOST_ALLOWANCE,
    LOST_BACKOFF,
    MOST_FORGIVEN,
    Budget,
    Outcome,
    Step,
    failure_fingerprint,
    next_step,
    one_line,
    spent,
)
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff

MAX_AGE = 3600.0
FAILURES = (AttemptOutcome.FAILED, AttemptOutcome.SOFT_LIMIT, AttemptOutcome.HARD_LIMIT)
AT_ONCE = Backoff(first=0.0, longest=0.0)

waits = st.floats(allow_nan=False, min_value=0)
outcomes = st.builds(Outcome, kind=st.sampled_from(AttemptOutcome), after_seconds=waits)
backoffs = st.builds(
    lambda first, more: Backoff(first=first, longest=first + more),
    st.floats(min_value=0, max_value=1e6),
    st.floats(min_value=0, max_value=1e6),
)


def budget(attempt: int = 1, *, forgiven: int = 0, lost: int = 0, max_attempts: int = 3, age: float = 0.0) -> Budget:
    return Budget(
        attempt=attempt,
        budget_from_attempt=0,
        forgiven=forgiven,
        lost=lost,
        max_attempts=max_attempts,
        age_seconds=age,
    )


def step(kind: AttemptOutcome, used: Budget, *, after: float = 0.0, backoff: Backoff = AT_ONCE) -> Step:
    return next_step(Outcome(kind=kind, after_seconds=after), used, backoff=backoff, max_age_seconds=MAX_AGE)


def test_success_ends_a_job() -> None:
    assert step(AttemptOutcome.SUCCEEDED, budget()) == Step(state=JobState.SUCCEEDED)


def test_giving_up_ends_a_job_at_its_first_attempt() -> None:
    assert step(AttemptOutcome.GAVE_UP, budget()) == Step(state=JobState.DEAD)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_retried_until_the_attempts_are_spent(kind: AttemptOutcome) -> None:
    assert [step(kind, budget(attempt)).state for attempt in (1, 2, 3)] == ["retrying", "retrying", "dead"]


def test_a_dead_job_says_how_many_attempts_it_had() -> None:
    assert step(AttemptOutcome.FAILED, budget(3)).reason == "All 3 attempts are spent."


@pytest.mark.parametrize("kind", sorted(HANDS_BACK))
def test_a_hand_back_costs_no_attempt_and_waits_as_it_was_told(kind: AttemptOutcome) -> None:
    expected = Step(state=JobState.RETRYING, delay_seconds=90.0, forgives=True)
    assert step(kind, budget(3), after=90.0) == expected


@pytest.mark.parametrize("kind", sorted(HANDS_BACK))
def test_a_hand_back_is_forgiven_ten_times_and_then_costs_an_attempt(kind: AttemptOutcome) -> None:
    assert step(kind, budget(10, forgiven=MOST_FORGIVEN - 1)).forgives
    assert step(kind, budget(11, forgiven=MOST_FORGIVEN), after=7.0) == Step(state=JobState.RETRYING, delay_seconds=7.0)
    assert step(kind, budget(13, forgiven=MOST_FORGIVEN)).state == JobState.DEAD


@pytest.mark.parametrize("kind", sorted(HANDS_BACK))
def test_a_hand_back_is_not_forgiven_past_the_jobs_age(kind: AttemptOutcome) -> None:
    assert step(kind, budget(1, age=MAX_AGE - 1)).forgives
    assert not step(kind, budget(1, age=MAX_AGE)).forgives
    assert step(kind, budget(3, age=MAX_AGE)).state == JobState.DEAD


def test_a_lost_run_costs_no_attempt_and_has_a_bound_of_its_own() -> None:
    most = 3 + LOST_ALLOWANCE
    first = step(AttemptOutcome.LOST, budget(3))
    assert (first.state, first.loses) == (JobState.RETRYING, True)
    assert step(AttemptOutcome.LOST, budget(most - 1, lost=most - 2)).state == JobState.RETRYING
    assert step(AttemptOutcome.LOST, budget(most, lost=most - 1)) == Step(
        state=JobState.DEAD, loses=True, reason=f"{most} runs were lost with their workers."
    )


def test_attempts_before_the_budget_began_do_not_count() -> None:
    used = Budget(attempt=8, budget_from_attempt=5, forgiven=1, lost=1, max_attempts=3, age_seconds=0.0)
    assert spent(used) == 1


@given(outcome=outcomes, backoff=backoffs, max_attempts=st.integers(1, 30), draw=st.data())
def test_every_wait_is_within_its_bounds(
    outcome: Outcome, backoff: Backoff, max_attempts: int, draw: st.DataObject
) -> None:
    attempt = draw.draw(st.integers(1, 100))
    lost = draw.draw(st.integers(0, attempt - 1))
    forgiven = draw.draw(st.integers(0, min(MOST_FORGIVEN, attempt - 1 - lost)))
    used = budget(attempt, forgiven=forgiven, lost=lost, max_attempts=max_attempts, age=draw.draw(waits))
    found = next_step(outcome, used, backoff=backoff, max_age_seconds=MAX_AGE)
    assert 0 <= found.delay_seconds <= LONGEST_DELAY_SECONDS
    assert found.state in (JobState.SUCCEEDED, JobState.RETRYING, JobState.DEAD)
    if outcome.kind in FAILURES:
        assert found.delay_seconds <= backoff.longest
    if outcome.kind is AttemptOutcome.LOST:
        assert found.delay_seconds <= LOST_BACKOFF.longest


@given(kinds=st.lists(outcomes), ages=st.lists(st.floats(0, 2 * MAX_AGE)), max_attempts=st.integers(1, 20))
def test_whatever_the_outcomes_a_job_ends_after_a_bounded_number_of_runs(
    kinds: list[Outcome], ages: list[float], max_attempts: int
) -> None:
    """Play a job through, as `transitions.record` does: the drawn outcomes, then failures."""
    age = iter(sorted(ages))
    forgiven = lost = spent = 0
    for attempt in count(1):
        outcome = kinds[attempt - 1] if attempt <= len(kinds) else Outcome(kind=AttemptOutcome.FAILED)
        used = budget(attempt, forgiven=forgiven, lost=lost, max_attempts=max_attempts, age=next(age, 2 * MAX_AGE))
        found = next_step(outcome, used, backoff=AT_ONCE, max_age_seconds=MAX_AGE)
        assert not (found.forgives and found.loses)
        assert not found.forgives or (outcome.kind in HANDS_BACK and used.age_seconds < MAX_AGE)
        forgiven += found.forgives
        lost += found.loses
        spent += not found.forgives and not found.loses
        assert forgiven <= MOST_FORGIVEN
        assert lost <= max_attempts + LOST_ALLOWANCE
        assert spent <= max_attempts
        if found.state is not JobState.RETRYING:
            break
    assert attempt <= max_attempts + MOST_FORGIVEN + max_attempts + LOST_ALLOWANCE


@given(kind=st.sampled_from(AttemptOutcome), max_attempts=st.integers(1, 20))
def test_one_outcome_for_ever_ends_too(kind: AttemptOutcome, max_attempts: int) -> None:
    forgiven = lost = 0
    for attempt in count(1):
        found = step(kind, budget(attempt, forgiven=forgiven, lost=lost, max_attempts=max_attempts))
        forgiven += found.forgives
        lost += found.loses
        if found.state is not JobState.RETRYING:
            break
    expected = {
        AttemptOutcome.SUCCEEDED: 1,
        AttemptOutcome.GAVE_UP: 1,
        AttemptOutcome.LOST: max_attempts + LOST_ALLOWANCE,
        AttemptOutcome.RETRY_LATER: max_attempts + MOST_FORGIVEN,
        AttemptOutcome.HANDED_BACK: max_attempts + MOST_FORGIVEN,
    }
    assert attempt == expected.get(kind, max_attempts)


@given(backoff=backoffs, retry=st.integers(1, 10_000), share=st.floats(0, 1, exclude_max=True))
def test_backoff_doubles_up_to_its_longest_with_full_jitter(backoff: Backoff, retry: int, share: float) -> None:
    ceiling = min(backoff.longest, backoff.first * 2.0 ** min(retry - 1, 60))
    assert backoff.seconds(retry, share=share) == pytest.approx(ceiling * share)
    assert 0 <= backoff.seconds(retry) <= ceiling


def test_backoff_draws_from_the_whole_of_its_range() -> None:
    draws = [Backoff(first=1.0).seconds(1) for _ in range(1000)]
    assert min(draws) < 0.1
    assert max(draws) > 0.9


@given(text=st.text(st.characters(), max_size=2 * LONGEST_TEXT))
def test_one_line_fits_every_database(text: str) -> None:
    found = one_line(text)
    assert len(found) <= LONGEST_TEXT
    assert "\0" not in found
    found.encode()


def test_one_line_keeps_a_short_text_and_marks_a_long_one() -> None:
    assert one_line(" a short result ") == "a short result"
    assert one_line("a" * LONGEST_TEXT) == "a" * LONGEST_TEXT
    assert one_line("a" * (LONGEST_TEXT + 1)) == "a" * (LONGEST_TEXT - 1) + "…"


def test_a_fingerprint_groups_by_handler_error_and_place() -> None:
    same = [failure_fingerprint("app.scan", "KeyError", "scan"), failure_fingerprint("app.scan", "KeyError", "scan")]
    others = [
        failure_fingerprint("app.scam", "KeyError", "scan"),
        failure_fingerprint("app.scan", "ValueError", "scan"),
        failure_fingerprint("app.scan", "KeyError", "read"),
        failure_fingerprint("app.scanKeyError", "", "scan"),
    ]
    assert len({*same, *others}) == 1 + len(others)
    assert all(len(one) == 16 for one in same)


def test_a_rate_limit_of_githubs_puts_off_however_often_while_the_job_is_young() -> None:
    put_off = Outcome(kind=AttemptOutcome.RETRY_LATER, after_seconds=60.0, is_put_off=True)

    def after(used: Budget) -> Step:
        return next_step(put_off, used, backoff=AT_ONCE, max_age_seconds=MAX_AGE)

    again = after(budget(attempt=51, forgiven=50))
    assert (again.state, again.delay_seconds, again.forgives) == (JobState.RETRYING, 60.0, True)
    old = after(budget(attempt=51, forgiven=50, age=MAX_AGE))
    assert (old.state, old.forgives) == (JobState.RETRYING, False), "It costs an attempt."
