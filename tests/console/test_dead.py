"""The page of the dead, and that of one issue: what they show, and what each role may do there."""

from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from tests.inbox.test_issues import A, B, dead, failing
from tests.support.inbox_rows import EVIL, make_delivery, page, state_of
from tests.support.people import ROLELESS, signed_in
from webhooks.console.role_names import OPERATOR, VIEWER
from webhooks.models import Change, IssueMark, Job
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

ISSUE = f"/dead/{A}/"


@pytest.fixture
def operator() -> Client:
    return signed_in(OPERATOR)


def act(client: Client, verb: str, **form: str) -> str:
    until = (timezone.now() + timedelta(seconds=1)).isoformat()
    answer = client.post(f"{ISSUE}{verb}/now/", {"until": until, "reason": "it is back", **form}, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_list_tells_empty_from_marked_and_links_each_issue(operator: Client) -> None:
    assert "No open issue" in page(operator, "/dead/")
    assert "No issue is ignored" in page(operator, "/dead/?state=ignored")
    dead(A, error=EVIL)
    failing(B)
    text = page(operator, "/dead/")
    assert f'href="{ISSUE}"' in text
    assert f'href="/dead/{B}/"' in text
    assert EVIL not in text
    assert EVIL in unescape(text)
    operator.post(f"{ISSUE}mark/", {"state": "ignored", "note": EVIL})
    assert f'href="{ISSUE}"' not in page(operator, "/dead/")
    assert EVIL in unescape(page(operator, "/dead/?state=ignored"))
    assert page(operator, "/dead/?state=nonsense") is not None


def test_an_issue_shows_its_newest_jobs_and_when_retention_takes_them(operator: Client) -> None:
    jobs = [dead(A, minutes=minutes, error=EVIL) for minutes in range(25, 0, -1)]
    text = page(operator, ISSUE)
    assert EVIL not in text
    assert "The newest 20 of 25 dead jobs" in text
    assert f'href="/jobs/{jobs[-1].pk}/"' in text
    assert f'href="/jobs/{jobs[0].pk}/"' not in text
    assert "Retention takes the first" in text


def test_one_is_retried_first_and_the_others_are_offered_once_it_has_succeeded(operator: Client) -> None:
    jobs = [dead(A, minutes=minutes) for minutes in (9, 8, 7)]
    assert "Retry one as a canary" in page(operator, ISSUE)
    operator.post(f"{ISSUE}canary/")
    assert [state_of(job) for job in jobs] == ["dead", "dead", "queued"]
    text = page(operator, ISSUE)
    assert 'data-live="2"' in text
    assert "Retry the other" not in text
    assert 'name="anyway"' in page(operator, f"{ISSUE}retry/")
    assert "no canary has succeeded" in act(operator, "retry")
    assert Job.objects.filter(state=JobState.DEAD).count() == 2
    Job.objects.filter(pk=jobs[2].pk).update(state=JobState.SUCCEEDED, finished_at=timezone.now(), publish_at=None)
    assert "Retry the other 2" in page(operator, ISSUE)
    form = page(operator, f"{ISSUE}retry/")
    assert "2 jobs" in form
    assert 'name="anyway"' not in form
    assert "2 jobs queued to run again." in act(operator, "retry")
    assert [state_of(job) for job in jobs] == ["queued", "queued", "succeeded"]
    assert list(Change.objects.order_by("id").values_list("action", "count", "reason")) == [
        ("retry_canary", 1, ""),
        ("run_again", 2, "it is back"),
    ]


def test_a_canary_that_dies_again_says_so_and_another_may_follow(operator: Client) -> None:
    dead(A, minutes=9)
    job = dead(A, minutes=8)
    operator.post(f"{ISSUE}canary/")
    Job.objects.filter(pk=job.pk).update(state=JobState.DEAD, finished_at=timezone.now(), error="still broken")
    text = page(operator, ISSUE)
    assert "It died again: still broken" in text
    assert "Retry another one as a canary" in text


def test_all_can_be_retried_without_a_canary_by_choice(operator: Client) -> None:
    jobs = [dead(A) for _ in range(2)]
    assert "2 jobs queued to run again." in act(operator, "retry", anyway="yes")
    assert {state_of(job) for job in jobs} == {"queued"}
    assert "No job of this issue is dead or failing now" in page(operator, ISSUE)


def test_a_group_is_given_up_with_a_reason_and_what_is_left_is_named(operator: Client) -> None:
    kept = dead(A, delivery=make_delivery(body=None))
    assert "payload pruned" in act(operator, "retry", anyway="yes")
    assert "say why" in act(operator, "give-up", reason=" ")
    assert "say why" in act(operator, "give-up", until="soon")
    assert state_of(kept) == "dead"
    assert "1 job given up." in act(operator, "give-up")
    assert state_of(kept) == "skipped"


def test_what_is_no_issue_is_not_found(operator: Client) -> None:
    dead(A)
    for url in (f"/dead/{B}/", f"/dead/{B}/retry/", f"{ISSUE}nonsense/"):
        assert operator.get(url).status_code == 404
    assert operator.post(f"{ISSUE}mark/", {"state": "nonsense"}).status_code == 404
    assert not IssueMark.objects.exists()


def test_a_viewer_sees_issues_and_may_change_nothing() -> None:
    viewer, job = signed_in(VIEWER), dead(A)
    text = page(viewer, ISSUE)
    assert "Retry" not in text
    assert "Acknowledge" not in text
    assert viewer.get(f"{ISSUE}retry/").status_code == 403
    for action in ("mark", "canary", "retry/now", "give-up/now"):
        assert viewer.post(f"{ISSUE}{action}/", {"state": "ignored", "reason": "r"}).status_code == 403
    assert (state_of(job), Change.objects.count()) == ("dead", 0)


def test_who_has_no_role_sees_nothing() -> None:
    dead(A)
    assert signed_in(ROLELESS).get("/dead/").status_code == 403
    assert signed_in(ROLELESS).get(ISSUE).status_code == 403
    assert Client().get(ISSUE)["Location"].startswith("/sign-in/")
