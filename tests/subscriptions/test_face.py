"""What `from webhooks import …` costs whoever writes a handler: nothing."""

from tests.support.processes import run_module

HEAVY = ("django", "celery", "kombu", "orjson", "granian", "psycopg")


def test_what_handlers_need_is_imported_without_anything_heavy() -> None:
    ended = run_module("tests.support.programs.import_for_handlers", *HEAVY)
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")
