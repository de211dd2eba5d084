"""The short form of `make fuzz`: some thousand odd requests to a real receiver, judged from their bytes alone."""

import os
import time

import pytest

from tests.fuzz.inputs import input_of
from tests.fuzz.paths import read_paths
from tests.fuzz.receiver import APP, Fuzz, directory
from tests.fuzz.verdict import judge
from tests.support.receiver_process import receiver_in, request
from tests.support.services import repeats

pytestmark = pytest.mark.django_db

COUNT = repeats(4_000)
SEED = int(os.environ.get("HOOKLINE_TEST_SEED") or time.time())


def test_nothing_that_is_sent_harms_the_receiver_and_only_what_is_signed_is_stored() -> None:
    with directory() as own, receiver_in(own, HOOKLINE_APPS=APP) as receiver:
        report = Fuzz(receiver, seed=SEED).run(range(COUNT), seconds=120)
        assert receiver.stop() == 0
    print(report)
    assert report.findings == [], "\n".join([str(report), *report.findings])
    assert report.sent == COUNT
    # It was neither all refused for one reason, nor all accepted.
    assert report.good > COUNT / 20
    assert {202, 400, 401, 404, 405, 411, 413, 415, 431} <= report.statuses.keys()


def test_the_inputs_are_odd_wherever_a_subscription_or_the_product_itself_looks() -> None:
    found = {".".join(path) for path in read_paths()}
    looked_at = "action deleted commits.added pull_request.labels.name repository.full_name installation.account.slug "
    assert found >= set(f"{looked_at}account.login head_commit.added repositories_added.private hook.events".split())


def test_an_input_is_the_same_whenever_it_is_drawn() -> None:
    assert [input_of(7, number) for number in range(50)] == [input_of(7, number) for number in range(50)]
    assert input_of(7, 1).data != input_of(8, 1).data


def test_the_verdict_on_a_delivery_as_github_sends_it_is_that_it_must_be_accepted() -> None:
    verdict = judge(request())
    assert verdict.is_plain
    assert verdict.must_be_accepted
    assert verdict.signed is not None


def test_the_verdict_on_a_changed_body_is_that_nobody_signed_it() -> None:
    verdict = judge(request().replace(b"Half", b"half"))
    assert verdict.is_plain
    assert not verdict.must_be_accepted
    assert verdict.signed is None


@pytest.mark.parametrize(
    ("body", "is_good"),
    [
        (rb'{"a": "\ud83d"}', True),
        (b'{"a": "\xed\xa0\xbd"}', True),
        (b'{"a": ' + b"9" * 5_000 + b"}", True),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", True),
        (b'{"a": NaN}', False),
        (b'{"a": "\xff"}', False),
        (b'{"a": "\\ud83d}', False),
    ],
)
def test_the_verdict_on_a_body_is_what_other_readers_of_json_make_of_it(body: bytes, is_good: bool) -> None:
    verdict = judge(request(body=body))
    assert (verdict.must_be_accepted, verdict.must_be_refused) == (is_good, not is_good)
