"""Which values of a payload are names that GitHub takes in any case, so that `where` compares them so. No I/O.

Accounts and repositories: https://docs.github.com/en/rest/repos/repos says of `owner` and `repo` that "the name is not
case sensitive", and `acme/Widgets` is the same repository after somebody has renamed it `Acme/widgets`. Of labels and
environments there are no two that differ in case alone. Branches and tags are git's, which tells cases apart.
"""

from functools import lru_cache

_NAMES = frozenset({"environment", "full_name", "login", "slug", "username"})
"""Names wherever they stand."""
_NAMED = frozenset(
    {"label", "labels", "owner", "pusher", "repo", "repository", "forkee", "parent", "source", "template_repository"}
    | {"repositories", "repositories_added", "repositories_removed"}
)
"""What has such a name in its `name`; of others, as of an author of a commit or a workflow, it is mere text."""
_OF_THE_TEAM = frozenset({"client_payload", "custom_properties", "inputs", "payload"})
"""What is below these a team has made up, and GitHub knows nothing of it."""


@lru_cache(maxsize=1024)
def is_in_any_case(path: str) -> bool:
    """Tell whether GitHub takes what stands at a path of keys in any case."""
    *above, key = path.removesuffix(".from").split(".")
    if not _OF_THE_TEAM.isdisjoint(above):
        return False
    return key in _NAMES or (key == "name" and bool(above) and above[-1] in _NAMED)
