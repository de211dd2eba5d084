"""Saved views: each user keeps filters of a list under names, opens them and deletes them; nobody else sees them."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.inbox_rows import EVIL, client_of, make_delivery, page
from tests.support.people import ROLELESS, signed_in
from webhooks.console import saved_views
from webhooks.models import SavedView

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

SAVE = "/saved-views/deliveries/"
FILTERS = "q=state%3Adead&sender=ana"


def save(client: Client, name: str = "mine", query: str = FILTERS, path: str = SAVE) -> str:
    """Save a view; return the text of the page that this leads to."""
    response = client.post(path, {"name": name, "query": query}, follow=True)
    assert response.status_code == 200
    return str(response.content.decode())


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_a_view_is_saved_opened_and_deleted_and_the_list_stays_as_it_was(role: str) -> None:
    client = signed_in(role)
    response = client.post(SAVE, {"name": "dead of ana", "query": f"{FILTERS}&after=1.1"})
    assert (response.status_code, response.headers["Location"]) == (302, f"/deliveries/?{FILTERS}")
    text = page(client, "/deliveries/")
    assert "dead of ana" in text
    assert f'href="/deliveries/?{FILTERS.replace("&", "&amp;")}"' in text
    view = SavedView.objects.get()
    response = client.post(f"{SAVE}{view.pk}/delete/", {"query": "sender=bob"})
    assert (response.status_code, response.headers["Location"]) == (302, "/deliveries/?sender=bob")
    assert not SavedView.objects.exists()


def test_a_view_that_has_the_name_is_replaced() -> None:
    client = signed_in("viewer")
    save(client)
    save(client, query="event=push")
    assert list(SavedView.objects.values_list("name", "query")) == [("mine", "event=push")]


def test_another_users_views_are_neither_shown_nor_deleted() -> None:
    save(signed_in("viewer"), name="of one viewer")
    other = signed_in("operator")
    assert "of one viewer" not in page(other, "/deliveries/")
    assert other.post(f"{SAVE}{SavedView.objects.get().pk}/delete/").status_code == 404
    assert SavedView.objects.get().user == User.objects.get(username="viewer")


def test_a_view_belongs_to_its_list() -> None:
    client = signed_in("viewer")
    client.post("/saved-views/jobs/", {"name": "of jobs", "query": "state=dead"})
    assert SavedView.objects.get().page == "jobs"
    page(client, "/deliveries/")  # It shows the message.
    assert "of jobs" not in page(client, "/deliveries/")
    assert client.post(f"{SAVE}{SavedView.objects.get().pk}/delete/").status_code == 404
    assert client.post("/saved-views/workers/", {"name": "x", "query": "a=b"}).status_code == 404


@pytest.mark.parametrize(
    ("name", "query"),
    [("", FILTERS), (" ", FILTERS), ("mine", ""), ("mine", "after=1.1"), ("mine", "q=" + "x" * 3000)],
)
def test_what_is_no_view_is_not_saved_and_the_page_says_so(name: str, query: str) -> None:
    assert "Nothing was saved" in save(signed_in("viewer"), name, query)
    assert not SavedView.objects.exists()


def test_a_user_keeps_a_bounded_number_of_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_views, "MOST", 1)
    client = signed_in("viewer")
    save(client)
    assert "delete one first" in save(client, "second")
    assert "Saved as" in save(client, query="event=push")
    assert SavedView.objects.count() == 1


def test_views_are_changed_by_a_post_with_its_token_of_somebody_who_may_see_the_list() -> None:
    client = signed_in("viewer")
    save(client)
    view = f"{SAVE}{SavedView.objects.get().pk}/delete/"
    for path in (SAVE, view):
        assert client.get(path).status_code == 405
        assert signed_in(ROLELESS).post(path).status_code == 403
        assert Client().post(path).headers["Location"].startswith("/sign-in/")
    assert client_of("view_delivery").post("/saved-views/jobs/").status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="viewer"))
    assert strict.post(view).status_code == 403
    assert SavedView.objects.exists()


def test_a_name_and_filters_are_no_markup_and_lead_nowhere_else() -> None:
    make_delivery()
    client = signed_in("viewer")
    response = client.post(SAVE, {"name": EVIL, "query": f"//evil.example/?q={EVIL}\r\nX: y"})
    assert response.headers["Location"].startswith("/deliveries/?")
    assert "<script>alert" not in page(client, response.headers["Location"])
