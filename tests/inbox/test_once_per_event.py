"""Two hooks that point here send one event twice: what runs for each of them, and what runs once."""

import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import LazySettings, settings
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from tests.support.claimed_jobs import run_now
from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.inbox_rows import new_delivery, page
from tests.support.receiving import fresh_receiver
from webhooks.inbox.new_delivery import Stored
from webhooks.inbox.store import store
from webhooks.models import Delivery, Job
from webhooks.receiver import views
from webhooks.states import JobState
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import Defaults, Subscription, Subscriptions, discover, on

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

SECRET = "the secret of both hooks"
BODY = body_of(ref="main")


@on("push", once_per_event=True)
def bill(event: Event) -> str:
    return event.idempotency_key


@on("push", once_per_event=True, where={"installation.id": 5})
def ask_as_app(event: Event) -> str:
    return event.idempotency_key


@on("push")
def count(event: Event) -> str:
    return event.idempotency_key


DECLARED = discover([("shop", sys.modules[__name__])], defaults=Defaults(queue="q", time_limit=30, max_attempts=3))


@pytest.fixture(autouse=True)
def receiver(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.HOOKLINE_SECRETS = {"github": [SECRET], "ghes": [SECRET]}
    monkeypatch.setattr(views, "installed_subscriptions", lambda: DECLARED)
    with fresh_receiver():
        yield


def post(guid: uuid.UUID, *, hook_id: int, body: bytes = BODY, path: str = PATH) -> "Response":
    headers = headers_for(body, secret=SECRET, event="push", guid=str(guid), hook_id=hook_id)
    content_type = headers.pop("Content-Type")
    return Client().generic("POST", path, body, content_type, headers=headers)


def jobs_of(response: "Response") -> int:
    told: dict[str, int] = json.loads(response.content)
    return told["jobs"]


def hooks_with_a_job(handler: str) -> list[int]:
    return list(Job.objects.filter(handler=handler).order_by("id").values_list("delivery__hook_id", flat=True))


def run(job: Job) -> str:
    subscription = DECLARED.get(job.handler)
    assert subscription is not None
    assert run_now(subscription, job.pk) is JobState.SUCCEEDED
    job.refresh_from_db()
    return job.result


@pytest.mark.parametrize("hook_ids", [(1, 2), (2, 1)])
def test_an_event_that_two_hooks_send_has_one_job_with_whichever_came_first(hook_ids: tuple[int, int]) -> None:
    guid = uuid.uuid4()
    answers = [post(guid, hook_id=hook_id) for hook_id in hook_ids]
    assert [(answer.status_code, jobs_of(answer)) for answer in answers] == [(202, 2), (202, 1)]
    assert hooks_with_a_job("shop.bill") == [hook_ids[0]]
    assert hooks_with_a_job("shop.count") == list(hook_ids)


def test_its_one_job_is_with_the_first_delivery_that_matches() -> None:
    guid = uuid.uuid4()
    of_the_app = body_of(ref="main", installation={"id": 5})
    answers = [post(guid, hook_id=1), post(guid, hook_id=2, body=of_the_app), post(guid, hook_id=3, body=of_the_app)]
    assert [jobs_of(answer) for answer in answers] == [2, 2, 1]
    assert hooks_with_a_job("shop.ask_as_app") == [2]


def test_other_events_and_the_same_guid_from_another_source_have_jobs_of_their_own() -> None:
    guid = uuid.uuid4()
    for answer in (post(guid, hook_id=1), post(uuid.uuid4(), hook_id=1), post(guid, hook_id=1, path="/webhooks/ghes")):
        assert (answer.status_code, jobs_of(answer)) == (202, 2)


def test_of_twenty_hooks_that_send_an_event_at_once_one_has_its_jobs() -> None:
    # Stored directly: how long a busy machine may take is the receiver's matter.
    with ThreadPoolExecutor(20) as senders:
        stored = list(senders.map(store_in_thread, range(20)))
    assert Counter(Job.objects.values_list("handler", flat=True)) == {
        "shop.bill": 1,
        "shop.ask_as_app": 1,
        "shop.count": 20,
    }
    assert sum(one.job_count for one in stored) == sum(len(one.to_publish) for one in stored) == 22


def store_in_thread(hook_id: int) -> Stored:
    subscriptions = list(DECLARED)[:: -1 if hook_id % 2 else 1]
    new = new_delivery(hook_id=hook_id, guid=uuid.UUID(int=7), installation_id=5, subscriptions=subscriptions)
    try:
        return store(new)
    finally:
        connection.close()


def test_its_idempotency_key_is_the_same_whichever_hook_came_first() -> None:
    keys: list[Any] = []
    for hook_ids in ((1, 2), (2, 1)):
        for hook_id in hook_ids:
            post(uuid.UUID(int=7), hook_id=hook_id)
        keys.append([run(job) for job in Job.objects.order_by("handler", "delivery__hook_id")])
        Delivery.objects.all().delete()
    name = str(uuid.UUID(int=7))
    assert keys == [[f"github:{name}:shop.bill", f"github:1:{name}:shop.count", f"github:2:{name}:shop.count"]] * 2


@pytest.mark.parametrize("hook_id", [1, 2])
def test_a_redelivery_by_either_hook_has_its_dead_job_run_again(hook_id: int) -> None:
    guid = uuid.uuid4()
    first = [jobs_of(post(guid, hook_id=own)) for own in (1, 2)]
    Job.objects.update(state=JobState.DEAD, publish_at=None)
    again = post(guid, hook_id=hook_id)
    assert (again.status_code, jobs_of(again)) == (200, first[hook_id - 1])
    assert Job.objects.get(handler="shop.bill").state == JobState.QUEUED
    queued = Job.objects.filter(handler="shop.count", state=JobState.QUEUED)
    assert list(queued.values_list("delivery__hook_id", flat=True)) == [hook_id]


def test_once_the_first_delivery_is_pruned_a_redelivery_of_the_second_runs_nothing_again() -> None:
    guid = uuid.uuid4()
    for hook_id in (1, 2):
        post(guid, hook_id=hook_id)
    Delivery.objects.update(received_at=Now() - timedelta(days=settings.HOOKLINE_KEEP_DAYS))
    Delivery.objects.get(hook_id=1).delete()
    assert post(guid, hook_id=2).status_code == 200
    assert hooks_with_a_job("shop.bill") == []


def test_the_page_of_a_delivery_shows_the_same_event_from_another_hook(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "installed_subscriptions", lambda: Subscriptions([only("shop.bill")]))
    views.rules.cache_clear()
    guid = uuid.uuid4()
    for hook_id in (4711, 4712):
        post(guid, hook_id=hook_id)
    post(uuid.uuid4(), hook_id=4713)
    first, second = Delivery.objects.filter(hook_id__in=(4711, 4712)).order_by("hook_id")
    text = page(admin_client, f"/deliveries/{second.pk}/")
    assert f'href="/deliveries/{first.pk}/"' in text
    assert "4711" in text
    assert 'data-state="queued"' in text
    assert "A job that runs once for an event belongs to the delivery that came first" in text
    assert "4713" not in text
    assert f'href="/deliveries/{second.pk}/"' in page(admin_client, f"/deliveries/{first.pk}/")
    alone = Delivery.objects.get(hook_id=4713)
    assert "other hooks" not in page(admin_client, f"/deliveries/{alone.pk}/")


def only(name: str) -> Subscription:
    found = DECLARED.get(name)
    assert found is not None
    return found
