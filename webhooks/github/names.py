"""Which values of a payload are names that GitHub compares without case, so that `where` does the same. No I/O.

Accounts and repositories: https://docs.github.com/en/rest/repos/repos says of `owner` and `repo` that "the name is not
case sensitive", and `acme/Widgets` is the same repository after somebody has renamed it `Acme/widgets`. No two
labels and no two environments differ in case alone. Branches and tags are git's, and git distinguishes case.
"""

from functools import lru_cache

_NAMES = frozenset({"environment", "full_name", "login", "slug", "username"})
"""Keys whose values are such names in every object."""
_NAMED = frozenset(
    {"label", "labels", "owner", "pusher", "repo", "repository", "forkee", "parent", "source", "template_repository"}
    | {"repositories", "repositories_added", "repositories_removed"}
)
"""Objects whose `name` is such a name. In others, such as a commit's author or a workflow, `name` is plain text."""
_OF_THE_TEAM = frozenset({"client_payload", "custom_properties", "inputs", "payload"})
"""A team chooses the values below these keys; GitHub does not interpret them."""


@lru_cache(maxsize=1024)
def is_in_any_case(path: str) -> bool:
    """Tell whether GitHub ignores the case of the value at a path of keys."""
    *above, key = path.removesuffix(".from").split(".")
    if not _OF_THE_TEAM.isdisjoint(above):
        return False
    return key in _NAMES or (key == "name" and bool(above) and above[-1] in _NAMED)
