"""Ends the processes of a run that has started none, and fails if their parent's children are looked for."""

from workers.processes import descendants

descendants.children_of = None  # type: ignore[assignment]
assert descendants.end_processes() == 0
