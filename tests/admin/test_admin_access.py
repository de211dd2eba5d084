"""The admin's pages by what a user may view, and with values in the address and in forms that no database takes."""

import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from tests.support.catalog_events import event, handle
from tests.support.inbox_rows import JOBS, make_delivery, make_job, page
from webhooks.admin import lists
from webhooks.models import Attempt, Change, Delivery, Destination, HookLog, Job, SecretUse, Source, SourceSecret
from webhooks.states import JobState
from workers.catalog.models import Hook, Installation, InstallationRepository, Repository, ScanRequest

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

INBOX: list[type[Model]] = [Delivery, Job, Attempt, Source, SourceSecret, SecretUse, Destination, Change, HookLog]
CATALOG: list[type[Model]] = [Installation, Repository, InstallationRepository, Hook, ScanRequest]
TOLD: dict[type[Model], str] = {
    # What only a row of the model says.
    Delivery: "mark/of-delivery",
    Job: "MarkOfJobError",
    Attempt: "MarkOfTraceback",
    Repository: "acme/gears",
    Installation: "(51000123)",
}


def address(model: type[Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def rows() -> None:
    """Store a row of each model, each with a mark of its own, which pages of other models may lead to."""
    delivery = make_delivery(repository="mark/of-delivery")
    job = make_job(JobState.DEAD, delivery=delivery, handler="shop.mark_of_handler", error="MarkOfJobError")
    Attempt.objects.create(job=job, number=1, worker="w", pid=7, message="m", traceback="MarkOfTraceback")
    HookLog.objects.create(source="github", hook="app")
    Destination.objects.create(name="chat", events=["*"], url="https://chat.example.com/T0KEN", created_by="ana")
    SourceSecret.objects.create(source=delivery.source, value=b"", fingerprint="f00f", created_by="ana")
    SecretUse.objects.create(source="github", fingerprint="f00f")
    handle(event("installation"), event("ping"), event("push"), event("repository"))


def staff(*models: type[Model]) -> Client:
    """Return a client of a user who may view the rows of these models alone."""
    user = User.objects.create_user(f"user{User.objects.count()}", is_staff=True)
    for model in models:
        label, name = model._meta.app_label, model._meta.model_name
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=f"view_{name}"))
    client = Client()
    client.force_login(user)
    return client


def pages_of(client: Client, model: type[Model]) -> str:
    """Return the text of the model's list and of each row's page and history."""
    texts = [page(client, address(model))]
    for pk in model._default_manager.values_list("pk", flat=True):
        texts += [page(client, f"{address(model)}{pk}/{view}/") for view in ("change", "history")]
    return "\n".join(texts)


# --- Permissions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [*INBOX, *CATALOG], ids=lambda model: model.__name__)
def test_who_may_view_one_model_sees_of_the_others_no_text_and_no_link(model: type[Model]) -> None:
    rows()
    client = staff(model)
    text = pages_of(client, model)
    for other in {*INBOX, *CATALOG} - {model}:
        assert client.get(address(other)).status_code == 403
        assert address(other) not in text, other
        if other in TOLD and not (other is Repository and model is ScanRequest):
            assert TOLD[other] not in text, other
    if model is not Job:
        for state in ("✗", "shop.mark_of_handler"):  # Of the job's state and name, as columns of other lists have them.
            assert state not in text
    assert model not in TOLD or TOLD[model] in text


@pytest.mark.parametrize(
    ("model", "other"), [(Job, Delivery), (Job, Attempt), (Attempt, Job)], ids=lambda one: one.__name__
)
def test_who_may_view_both_models_sees_the_other_in_the_one(model: type[Model], other: type[Model]) -> None:
    rows()
    text = pages_of(staff(model, other), model)
    assert address(other) in text or TOLD[other] in text


def test_every_page_of_the_admin_is_held_to_the_inboxs_rules() -> None:
    ours = {model for model in site._registry if model._meta.app_label in ("webhooks", "catalog")}
    assert ours == {*INBOX, *CATALOG}
    for model in ours:
        assert isinstance(site.get_model_admin(model), lists.ReadOnlyAdmin), model


# --- Lists over millions of rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [*INBOX, *CATALOG], ids=lambda model: model.__name__)
def test_no_list_counts_facets_sorts_by_a_column_or_filters_by_another_one(
    admin_client: Client, model: type[Model]
) -> None:
    rows()
    url = address(model)
    assert "_facets" not in page(admin_client, url)
    assert not admin_client.get(f"{url}?_facets=True").context["cl"].add_facets
    for number in range(1, 9):
        assert admin_client.get(f"{url}?o=-{number}").context["cl"].queryset.query.order_by == tuple(
            site.get_model_admin(model).get_ordering(admin_client.get(url).wsgi_request)
        )
    for field in model._meta.concrete_fields:
        for lookup in ("gt", "contains", "regex", "in"):
            assert admin_client.get(f"{url}?{field.name}__{lookup}=1").status_code == 400, (field.name, lookup)


@pytest.mark.parametrize("column", ["queue", "handler"])
@pytest.mark.parametrize("state", ["", "queued", "dead"])
def test_a_filter_without_an_index_looks_at_the_first_rows_and_says_so(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, column: str, state: str
) -> None:
    monkeypatch.setattr(lists, "MOST_LOOKED_AT", 3)
    delivery = make_delivery()
    for number in range(5):
        first = number == (0 if state != "queued" else 4)
        make_job(
            state or JobState.SUCCEEDED, delivery=delivery, created_at=timezone.now(),
            handler="far" if first and column == "handler" else f"h{number}",
            queue="far" if first and column == "queue" else "q",
        )  # fmt: skip
    found = admin_client.get(JOBS, {column: "far", "state": state})
    assert found.context["cl"].result_count == 0
    assert "Only the first 3 of this list were looked at" in found.content.decode()
    monkeypatch.setattr(lists, "MOST_LOOKED_AT", 6)
    found = admin_client.get(JOBS, {column: "far", "state": state})
    assert found.context["cl"].result_count == 1
    assert "of this list were looked at" not in found.content.decode()


def test_a_search_is_not_held_to_the_first_rows(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_LOOKED_AT", 1)
    old = make_job(queue="far")
    make_job()
    found = admin_client.get(JOBS, {"queue": "far", "q": str(old.pk)}).context["cl"]
    assert [row.pk for row in found.result_list] == [old.pk]


def test_the_catalogs_filters_say_so_too(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rows()
    monkeypatch.setattr(lists, "MOST_LOOKED_AT", 1)
    for query in ("private__exact=1", "deleted_at__isempty=0"):
        assert "Only the first 1 of this list" in page(admin_client, f"{address(Repository)}?{query}")


# --- Values that no database takes ------------------------------------------------------------------------------------

PARAMETERS = [
    "q",
    "p",
    "_to_field",
    "_changelist_filters",
    "state",
    "handler",
    "event",
    "private__exact",
    "id__in",
    "pk",
]
VALUES = ["a%00b", "%ED%A0%BD", "99999999999999999999"]


@pytest.mark.parametrize("model", [*INBOX, *CATALOG], ids=lambda model: model.__name__)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:25])
def test_no_value_in_the_address_is_an_error_of_the_server(
    admin_client: Client, model: type[Model], value: str
) -> None:
    rows()
    for parameter in PARAMETERS:
        status = admin_client.get(f"{address(model)}?{parameter}={value}").status_code
        assert status in ((400,) if "%00" in value else (200, 302, 400)), parameter
    assert admin_client.get(f"{address(model)}?{value}=1").status_code in (200, 302, 400)


def test_no_list_of_people_takes_a_filter_that_it_does_not_offer(admin_client: Client) -> None:
    for filtered, status in (
        ("user/?is_active__exact=1", 200),
        ("user/?groups__id__exact=1", 200),
        ("user/?date_joined__year=99999999999999999999", 400),
        ("user/?date_joined__year=999999", 400),
        ("user/?is_active__exact=99999999999999999999", 302),
        ("group/?permissions__id__exact=99999999999999999999", 400),
    ):
        assert admin_client.get(f"/admin/auth/{filtered}").status_code == status, filtered


@pytest.mark.parametrize("value", [*VALUES, "_00", "_FF", "12_0A", "not-a-number"], ids=lambda value: value[:25])
def test_no_number_of_a_row_is_an_error_of_the_server(admin_client: Client, value: str) -> None:
    for model in (*INBOX, *CATALOG):
        for view in ("change/", "history/", "delete/", ""):
            assert admin_client.get(f"{address(model)}{value}/{view}").status_code in (301, 302, 400, 403, 404)
    for path in (f"/admin/r/{value}/1/", f"/admin/r/1/{value}/"):
        assert admin_client.get(path).status_code in (302, 400, 404), path
    assert admin_client.get(f"/jobs/{value}/").status_code in (400, 404)
    assert admin_client.get(f"/jobs/confirm/?operation=run_again&job={value}").status_code in (200, 400)


@pytest.mark.parametrize("chosen", ["\0", "99999999999999999999", "x", "", "1 OR 1=1"])
def test_no_value_in_a_form_is_an_error_of_the_server(admin_client: Client, chosen: str) -> None:
    job = make_job(JobState.DEAD)
    form: dict[str, Any] = {"operation": "run_again", "job": [job.pk]}
    for name in (*form, "operation_on_all", "state", "since", "reason", "after", "newest", "until", "next"):
        assert admin_client.post("/jobs/change/", {**form, name: chosen}).status_code in (200, 302, 400), name
    login = {"username": chosen, "password": chosen, "next": chosen}
    assert Client().post("/sign-in/", login).status_code in (200, 400)


def test_a_nul_in_a_cookie_is_no_error_of_the_server() -> None:
    client = Client()
    client.cookies.load({"sessionid": "x"})
    status = client.get("/admin/", headers={"cookie": r'sessionid="abcdefgh\000ijkl"'}).status_code
    assert status == 400
    assert re.fullmatch("302|200", str(Client().get("/admin/").status_code))
