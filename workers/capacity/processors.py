"""The cores: how pods share them, and when each piece of work is computed. Values in, values out.

A *group* is what the kernel shares the cores between: a pod. Each gets the same share, as pods with the same request of
CPU do, up to one core for each process that computes, and up to its limit; what one leaves the others get. Within a
group its processes share alike. So the work that each process of a group has done since any moment is the same: one
number for a group, its virtual time, says when each piece of work ends.
"""

import heapq
import math
from typing import Any


class Group:
    """The processes of a pod that compute."""

    __slots__ = ("_at", "_order", "_rate", "_used", "_virtual", "limit", "next_at", "work")

    def __init__(self, *, at: float, limit: float = math.inf) -> None:
        self.limit = limit
        self.work: list[tuple[float, int, Any]] = []
        """A heap: the virtual time at which each piece ends, and what it is."""
        self.next_at = math.inf
        """When the first piece of work ends, as long as nothing changes."""
        self._at, self._virtual, self._rate, self._used, self._order = at, 0.0, 0.0, 0.0, 0

    @property
    def demand(self) -> float:
        """How many cores it could use."""
        return min(float(len(self.work)), self.limit)

    def used(self, at: float) -> float:
        """Return how many CPU seconds it has used until a moment that is not in the past."""
        return self._used + (at - self._at) * self._rate * len(self.work)

    def settle(self, at: float) -> None:
        """Note what was done until now, before anything changes."""
        done = (at - self._at) * self._rate
        self._virtual += done
        self._used += done * len(self.work)
        self._at = at

    def push(self, cpu_seconds: float, what: Any) -> None:
        self._order += 1
        heapq.heappush(self.work, (self._virtual + cpu_seconds, self._order, what))

    def pop(self) -> Any:
        end, _, what = heapq.heappop(self.work)
        # Exactly: the moment was computed from it, and rounding must not add up.
        self._virtual = end if self.work else 0.0
        return what

    def drop(self, whats: set[Any]) -> None:
        self.work = [piece for piece in self.work if piece[2] not in whats]
        heapq.heapify(self.work)

    def run_with(self, cores: float) -> None:
        """Share so many cores between its processes from now on."""
        self._rate = min(cores, self.demand) / len(self.work) if self.work else 0.0
        self.next_at = self._at + max(0.0, self.work[0][0] - self._virtual) / self._rate if self._rate else math.inf


class Cores:
    """The cores of all nodes together, and the groups that compute."""

    def __init__(self, total: float) -> None:
        self.total = total
        self.first = Group(at=0.0)
        """Programs beside the workers: they get all that they can use, and the groups share what is left."""
        self.groups: list[Group] = []
        self.level = math.inf
        """How many cores a group gets at most; infinite while all get what they can use."""

    @property
    def is_short(self) -> bool:
        """Tell whether a process that could compute waits for a core."""
        return self.level < math.inf or any(len(group.work) > group.limit for group in self.groups)

    def next(self) -> Group | None:
        """Return the group whose work ends first."""
        groups = [self.first, *self.groups] if self.first.work else self.groups
        return min(groups, key=_next_at, default=None)

    def add(self, group: Group, what: Any, *, cpu_seconds: float, at: float) -> None:
        """Compute this for a group, from now on."""
        before = group.demand
        group.settle(at)
        group.push(cpu_seconds, what)
        if before == 0.0 and group is not self.first:
            self.groups.append(group)
        self._changed(group, before, at)

    def end(self, group: Group, at: float) -> Any:
        """Return what a group has computed now."""
        before = group.demand
        group.settle(at)
        what = group.pop()
        self._changed(group, before, at)
        return what

    def cancel(self, group: Group, whats: set[Any], at: float) -> None:
        before = group.demand
        group.settle(at)
        group.drop(whats)
        self._changed(group, before, at)

    def _changed(self, group: Group, before: float, at: float) -> None:
        if not group.work and group in self.groups:
            self.groups.remove(group)
        if before > self.level and group.demand > self.level and group is not self.first:
            # The others get what they got: nothing of them changes.
            group.run_with(self.level)
            return
        left = self.total - min(self.first.demand, self.total)
        was, self.level = self.level, level(left, [each.demand for each in self.groups])
        group.run_with(self.total if group is self.first else self.level)
        if self.level == was == math.inf:
            return
        for other in self.groups:
            if other is not group:
                other.settle(at)
                other.run_with(self.level)


def level(total: float, demands: list[float]) -> float:
    """Return how many cores each group gets at most, so that all cores are used; infinite if there are enough."""
    if sum(demands) <= total:
        return math.inf
    left, waiting = total, len(demands)
    for demand in sorted(demands):
        if demand * waiting >= left:
            break
        left -= demand
        waiting -= 1
    return left / waiting


def _next_at(group: Group) -> float:
    return group.next_at
