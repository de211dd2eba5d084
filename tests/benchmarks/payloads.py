"""What it costs to encrypt and to redact a payload, by its size: `python -m tests.benchmarks.payloads`.

Beside what each delivery costs anyway: to verify its signature and to parse it. Where both are off, none of this is
run: a receiver asks two settings, and a worker's child compares three bytes.
"""

import copy
import json
import os
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.conf import settings

from webhooks.encryption import new_key
from webhooks.github import json_text
from webhooks.github.redaction import Redaction
from webhooks.github.samples import load
from webhooks.github.signature import sign
from webhooks.inbox.kept_bodies import opened, sealed

SIZES = (2_000, 24_000, 64_000, 256_000, 1_000_000, 10_000_000)
OF_NAMES = ("$.sender.email", "$..email")
OF_THE_LIBRARY = ("$..[?@.type == 'User'].login",)


def payload_of(size: int) -> dict[str, object]:
    """Return a payload of about this size, made of pull requests."""
    one = load("pull_request")
    text = len(json.dumps(one))
    return {"sender": one["sender"]} if size < text / 2 else {"pages": [one] * max(1, round(size / text)), **one}


def milliseconds(work: Callable[[], object], *, size: int) -> float:
    """Return how long it takes: the median of several runs."""
    took = []
    for _ in range(5 if size > 500_000 else 25):
        began = time.perf_counter()
        work()
        took.append(1_000 * (time.perf_counter() - began))
    return median(took)


def main() -> None:
    settings.HOOKLINE_PAYLOAD_KEYS = [new_key()]
    columns = ("bytes", "verify+parse", "encrypt", "decrypt", "stored", "redact", "by filter")
    print("  ".join(f"{name:>16}" for name in columns))
    for size in SIZES:
        body = json.dumps(payload_of(size)).encode()
        kept, parsed = sealed(body), json_text.loads(body)
        usual = milliseconds(lambda body=body: (sign(body, "a secret"), json_text.loads(body)), size=size)  # type: ignore[misc]
        measured = [milliseconds(work, size=size) for work in works(body, kept, parsed)]
        encrypt, decrypt, redact, by_filter = (f"{took:9.3f} ({took / usual:4.0%})" for took in measured)
        stored = f"{len(kept) / len(body):.0%}"
        row = (f"{len(body):,}", f"{usual:.3f} ms", encrypt, decrypt, stored, redact, by_filter)
        print("  ".join(f"{value:>16}" for value in row))


def works(body: bytes, kept: bytes, parsed: dict[str, object]) -> list[Callable[[], object]]:
    def redacting(paths: tuple[str, ...]) -> Callable[[], object]:
        redaction, given = Redaction(paths), copy.deepcopy(parsed)
        return lambda: (redaction.redact(given), json_text.dumps(given))

    return [lambda: sealed(body), lambda: opened(kept), redacting(OF_NAMES), redacting(OF_THE_LIBRARY)]


if __name__ == "__main__":
    main()
