"""What limits a change of the number of replicas: stabilisation windows, and policies on how fast it may change.

The rules are those of Kubernetes 1.34, https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

DOWN_SECONDS = 300.0
"""The controller's --horizontal-pod-autoscaler-downscale-stabilization."""


class Kind(StrEnum):
    PODS = "Pods"
    PERCENT = "Percent"


class Select(StrEnum):
    """Which of several policies counts."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """A change of at most so many pods, or percent of them, in a period."""

    kind: Kind
    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Rules:
    """How the number may change in one direction."""

    stabilization_seconds: float
    policies: tuple[Policy, ...]
    select: Select = Select.MAX
    tolerance: float | None = None
    """How far a metric may be from its target without a change; None for the controller's own. The field is alpha."""


UP = Rules(0.0, (Policy(Kind.PODS, 4, 15.0), Policy(Kind.PERCENT, 100, 15.0)))
DOWN = Rules(DOWN_SECONDS, (Policy(Kind.PERCENT, 100, 15.0),))


@dataclass(frozen=True, slots=True)
class Behavior:
    """How the number may change. The defaults are Kubernetes' own."""

    up: Rules = UP
    down: Rules = DOWN
    is_given: bool = True
    """Whether the autoscaler's spec has a behavior at all. Without one, older rules hold: the highest number of the
    window counts, up and down, and at once there may be four or twice as many."""


NOT_GIVEN = Behavior(is_given=False)


@dataclass(slots=True)
class Changes:
    """What was recommended and changed before, and what a new recommendation becomes by it."""

    behavior: Behavior
    least: int
    most: int
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _ups: list[tuple[float, int]] = field(default_factory=list)
    _downs: list[tuple[float, int]] = field(default_factory=list)

    def allowed(self, wanted: int, *, current: int, at: float) -> int:
        """Return the number of replicas from now on, if the metrics ask for so many."""
        if not self._recommended:
            # As if the size at the beginning had been recommended.
            self._recommended.append((at, current))
        found = self._limited(self._stabilized(wanted, current, at), current, at)
        if found > current:
            _note(self._ups, (at, found - current), self.behavior.up)
        elif found < current:
            _note(self._downs, (at, current - found), self.behavior.down)
        return found

    def _stabilized(self, wanted: int, current: int, at: float) -> int:
        """Up only to the lowest, and down only to the highest number that was recommended in the window."""
        up, down = self.behavior.up.stabilization_seconds, self.behavior.down.stabilization_seconds
        lowest = min([wanted, *(count for since, count in self._recommended if since > at - up)])
        highest = max([wanted, *(count for since, count in self._recommended if since > at - down)])
        self._recommended = [each for each in self._recommended if each[0] > at - max(up, down)]
        self._recommended.append((at, wanted))
        if not self.behavior.is_given:
            return highest
        return min(max(current, lowest), highest)

    def _limited(self, wanted: int, current: int, at: float) -> int:
        if wanted > current:
            fastest = max(current, self._limit(self.behavior.up, current, at, highest))
            return min(wanted, self.most, fastest)
        if wanted < current:
            fastest = min(current, self._limit(self.behavior.down, current, at, lowest))
            return max(wanted, self.least, fastest)
        return current

    def _limit(self, rules: Rules, current: int, at: float, proposed: Callable[[int, Policy], int]) -> int:
        """Return how far the policies let it change now, by what has changed in each policy's period."""
        if not self.behavior.is_given:
            return max(2 * current, 4) if proposed is highest else 0
        if rules.select is Select.DISABLED or not rules.policies:
            return current
        every = [proposed(self._at_begin(policy, current, at), policy) for policy in rules.policies]
        is_far = (rules.select is Select.MAX) == (proposed is highest)
        return max(every) if is_far else min(every)

    def _at_begin(self, policy: Policy, current: int, at: float) -> int:
        since = at - policy.period_seconds
        return current - _total(self._ups, since) + _total(self._downs, since)


def _note(changes: list[tuple[float, int]], change: tuple[float, int], rules: Rules) -> None:
    """Note a change, in the place of one that no policy of its direction looks at any more, as the controller does."""
    longest = max((policy.period_seconds for policy in rules.policies), default=0.0)
    old = [place for place, (at, _) in enumerate(changes) if at <= change[0] - longest]
    if old:
        changes[old[-1]] = change
    else:
        changes.append(change)


def _total(changes: Sequence[tuple[float, int]], since: float) -> int:
    return sum(count for at, count in changes if at > since)


def highest(at_begin: int, policy: Policy) -> int:
    """Return how many there may be by a policy. A percentage is rounded up: else one replica would stay one."""
    if policy.kind is Kind.PODS:
        return at_begin + policy.value
    return math.ceil(at_begin * (1 + policy.value / 100))


def lowest(at_begin: int, policy: Policy) -> int:
    """Return how few there may be by a policy."""
    if policy.kind is Kind.PODS:
        return at_begin - policy.value
    return int(at_begin * (1 - policy.value / 100))
