"""How much memory a process takes more once it has called GitHub's API: `python -m tests.benchmarks.api_memory`."""

from pathlib import Path


def private_megabytes() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    return kilobytes / 1024


def main() -> None:
    before = private_megabytes()
    from webhooks.testing.github import FakeGitHub

    github = FakeGitHub({"GET /repos/acme/widgets/issues/7/comments": []})
    rest = github.client.rest
    rest.issues.list_comments("acme", "widgets", 7).json()
    rest.issues.create_comment("acme", "widgets", 7, body="Thanks!")
    print(f"{private_megabytes() - before:.0f} MB more after two calls, a read and a write")


if __name__ == "__main__":
    main()
