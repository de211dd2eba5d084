from django.contrib.auth.models import User

from merges.handlers import keep_merge
from merges.models import Merge
from webhooks.testing import event, run_handler

MERGED = {"merged": True, "merged_at": "2026-10-12T09:30:00Z"}


def test_a_merge_is_kept_and_stands_in_the_admin(deliver, client):
    outcomes = deliver("pull_request", action="closed", pull_request=MERGED)
    assert outcomes["merges.keep_merge"].message == "acme/widgets#218 is kept"
    client.force_login(User.objects.create_superuser("operator"))
    assert "acme/widgets" in client.get("/admin/merges/merge/").content.decode()


def test_a_second_run_keeps_no_second_row(db):
    closed = event("pull_request", action="closed", pull_request=MERGED)
    said = [run_handler(keep_merge, closed, attempt=attempt).message for attempt in (1, 2)]
    assert said == ["acme/widgets#218 is kept", "acme/widgets#218 is kept already"]
    assert Merge.objects.count() == 1


def test_one_that_is_closed_without_a_merge_is_left_out(deliver):
    assert deliver("pull_request", action="closed", pull_request={"merged": False}) == {}
