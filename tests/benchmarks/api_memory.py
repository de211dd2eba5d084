"""How much memory a child takes more once it has called GitHub's API: `python -m tests.benchmarks.api_memory`.

A child that is forked before the client is loaded, as it is where a worker has no App's key, and one forked after.
"""

import os
from collections.abc import Callable
from pathlib import Path

import django


def private_megabytes() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    return kilobytes / 1024


def call() -> None:
    import httpx
    from githubkit import UnauthAuthStrategy

    from webhooks.github_api.kit import client, wire

    api = "https://api.github.com"
    wire(api)  # With TLS, as a real one has it.
    answers = httpx.MockTransport(lambda request: httpx.Response(201 if request.method == "POST" else 200, json=[]))
    github = client(UnauthAuthStrategy(), api, transport=answers)
    github.rest.issues.list_comments("acme", "widgets", 7).json()
    github.rest.issues.create_comment("acme", "widgets", 7, body="Thanks!")


def in_a_child(work: Callable[[], None]) -> float:
    """Return by how many megabytes the memory of a forked process's own grows as it works."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            before = private_megabytes()
            work()
            os.write(writing, f"{private_megabytes() - before:.1f}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.wait()
    return float(os.read(reading, 100))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    without = in_a_child(call)
    before = private_megabytes()
    from webhooks.github_api import loading

    loading.load()
    loaded = private_megabytes() - before
    print(f"loaded in the child   {without:5.1f} MB more in each child that calls")
    print(f"loaded in the parent  {in_a_child(call):5.1f} MB more in each child that calls, and {loaded:.1f} MB once")


if __name__ == "__main__":
    main()
