"""A worker's probes: what makes them ask broker and inbox, what they decide, and what failures of their own come to."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.support.celery_app import celery_on
from tests.support.inbox_rows import make_job
from tests.support.processes import free_port
from webhooks.inbox import pauses
from webhooks.inbox.due import claimable_seconds
from webhooks.states import JobState
from workers.probes import liveness
from workers.probes.liveness import Answers, Check, Liveness
from workers.probes.process import LivenessCheck
from workers.probes.queue_check import QueueCheck
from workers.probes.vital_signs import SharedSigns, VitalSigns

database = [pytest.mark.django_db, pytest.mark.both_databases]
QUEUE = "verdict"

CALM = VitalSigns(
    seen_at=100, heartbeat_at=100, is_consuming=True, is_connected=True, has_consumed=True, processes=2, progress_at=100
)
UNCONNECTED = {"is_connected": False, "is_consuming": False, "has_consumed": False}
LEFT = Answers(broker_messages=3, due_seconds=61)


def signs(**changed: Any) -> VitalSigns:
    return VitalSigns(**{name: getattr(CALM, name) for name in CALM.__slots__} | changed)


def needed_check(now: float, *, is_stopping: bool = False, **changed: Any) -> Check:
    return liveness.needed_check(signs(**changed), now=now, is_stopping=is_stopping, stalled_seconds=60)


@pytest.mark.parametrize(
    ("expected", "now", "changed"),
    [
        (Check.NONE, 160, {}),
        (Check.LOOP, 161, {}),
        (Check.LOOP, 161, {"busy": 2}),
        (Check.NONE, 161, {"busy": 2, "seen_at": 161}),
        (Check.PROGRESS, 161, {"heartbeat_at": 161}),
        (Check.NONE, 161, {"heartbeat_at": 161, "busy": 2}),
        (Check.NONE, 161, {"heartbeat_at": 161, "is_consuming": False}),
        (Check.NONE, 105, UNCONNECTED),
        (Check.START, 106, UNCONNECTED),
        (Check.NONE, 106, UNCONNECTED | {"heartbeat_at": 106}),
        (Check.LOOP, 161, UNCONNECTED),
        (Check.NONE, 900, {"is_ending": True}),
        (Check.NONE, 900, {"is_stopping": True}),
    ],
)
def test_only_a_loop_that_stands_still_or_a_free_process_without_work_gives_a_reason_to_ask(
    expected: Check, now: float, changed: dict[str, Any]
) -> None:
    assert needed_check(now, **changed) is expected


def verdict(reason: Check, answers: Answers, *, times: int = 2, seconds: float = 5, **changed: Any) -> list[str]:
    judge = Liveness(stalled_seconds=60)
    for turn in range(times):
        judge.decide(reason, signs(**changed), answers, now=200 + turn * seconds)
    return judge.faults


def test_one_answer_alone_is_not_believed() -> None:
    assert verdict(Check.PROGRESS, LEFT, times=1) == []
    assert verdict(Check.PROGRESS, LEFT, times=2) != []


@pytest.mark.parametrize(
    "answers",
    [
        Answers(broker_messages=None, due_seconds=61),
        Answers(broker_messages=3, due_seconds=None),
        Answers(broker_messages=3, due_seconds=-1),
        Answers(broker_messages=3, due_seconds=59),
        Answers(broker_messages=0, due_seconds=61),
    ],
)
def test_a_want_of_work_or_of_an_answer_is_no_reason_for_a_restart(answers: Answers) -> None:
    assert verdict(Check.PROGRESS, answers) == []


def test_messages_that_no_process_begins_count_as_work() -> None:
    assert verdict(Check.PROGRESS, Answers(broker_messages=0, due_seconds=61), unstarted=1) != []


def test_a_lost_connection_has_a_minute_to_come_back_once_the_broker_answers() -> None:
    answers = Answers(broker_messages=0, due_seconds=None)
    assert verdict(Check.LOOP, answers) != []
    assert verdict(Check.LOOP, answers, is_connected=False, times=12) == []
    assert verdict(Check.LOOP, answers, is_connected=False, times=15) != []


def test_a_record_that_its_writer_left_half_done_is_not_read() -> None:
    shared = SharedSigns()
    assert shared.read() is None
    shared.write(signs(queues=("a", "b")))
    assert shared.read() == signs(queues=("a", "b"))
    shared._memory[0:8] = (3).to_bytes(8, "little")
    assert shared.read() is None


# --- The start --------------------------------------------------------------------------------------------------------


def new_check(*, stalled_seconds: float, **changed: Any) -> LivenessCheck:
    shared = SharedSigns()
    shared.write(signs(**changed))
    return LivenessCheck(shared, stalled_seconds=stalled_seconds)


@pytest.mark.parametrize(
    ("broker", "faults"),
    [("filesystem://", ["has consumed nothing yet"]), ("amqp://127.0.0.1:{port}//", [])],
)
def test_a_start_is_forgiven_while_the_broker_is_silent_however_long_a_stall_may_last(
    broker: str, faults: list[str]
) -> None:
    check = new_check(stalled_seconds=86_400, queues=(QUEUE,), **UNCONNECTED)
    with celery_on(broker.format(port=free_port())):
        check.look(now=110)
    assert check.started() == faults
    assert check.live() == []


def test_a_start_in_vain_is_never_a_reason_of_the_liveness_probe() -> None:
    assert verdict(Check.START, Answers(broker_messages=3, due_seconds=None), times=30) == []


# --- What is asked ----------------------------------------------------------------------------------------------------


def ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)


class TestDueJobs:
    pytestmark = database

    @pytest.mark.parametrize(
        ("seconds", "state", "columns"),
        [
            (30, JobState.QUEUED, {"publish_at": ago(30)}),
            (0, JobState.RETRYING, {"publish_at": ago(0), "due_at": ago(0)}),
            (-30, JobState.RETRYING, {"publish_at": ago(-30), "due_at": ago(-30)}),
            (None, JobState.RUNNING, {}),
            (None, JobState.QUEUED, {"publish_at": ago(30), "queue": "other"}),
        ],
    )
    def test_the_longest_due_job_tells_for_how_long_a_worker_could_have_taken_one(
        self, seconds: int | None, state: JobState, columns: dict[str, Any]
    ) -> None:
        make_job(state, **{"queue": QUEUE} | columns)
        assert claimable_seconds([QUEUE]) == (None if seconds is None else pytest.approx(seconds, abs=5))

    def test_jobs_that_an_operator_has_paused_make_no_worker_a_stuck_one(self) -> None:
        make_job(JobState.QUEUED, queue=QUEUE, publish_at=ago(7200))
        pauses.pause(queue=QUEUE, reason="GitHub outage", who="ana")
        seconds = claimable_seconds([QUEUE])
        assert verdict(Check.PROGRESS, Answers(broker_messages=3, due_seconds=seconds)) == []
        pauses.resume(queue=QUEUE, who="ana")
        # A worker needs a moment to take them.
        seconds = claimable_seconds([QUEUE])
        assert verdict(Check.PROGRESS, Answers(broker_messages=3, due_seconds=seconds)) == []


def test_a_question_that_fails_in_an_unforeseen_way_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> int:
        raise AttributeError("client")

    monkeypatch.setattr("webhooks.publishing.broker.Connection.ensure_connection", fail)
    answers = QueueCheck().ask(Check.LOOP, [QUEUE], unstarted=1)
    assert answers == Answers(broker_messages=None, due_seconds=None)
    assert "broker or inbox could not be asked" in caplog.messages


def test_a_broker_that_there_is_no_queue_to_ask_for_does_not_count_as_one_that_answers() -> None:
    assert QueueCheck().ask(Check.LOOP, [], unstarted=0).broker_messages is None
