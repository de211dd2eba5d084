"""What `from webhooks import …` costs whoever writes a handler: nothing."""

import subprocess
import sys

import webhooks
from tests.support.processes import ROOT

HEAVY = ("django", "celery", "kombu", "orjson", "granian", "psycopg")

PROGRAM = f"""
import sys
from webhooks import {", ".join(webhooks.__all__)}
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY!r})))
"""


def test_what_handlers_need_is_imported_without_anything_heavy() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")
