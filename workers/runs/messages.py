"""What dispatcher, children and parent say to each other."""

from msgspec import Struct

from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.outcomes import Outcome
from workers.runs.slots import Running

# --- A child to the dispatcher ----------------------------------------------------------------------------------------


class Entered(Struct, tag=True, array_like=True, frozen=True):
    """A child begins a turn: it takes jobs until it is told to leave."""

    pid: int
    queue: str
    """The queue of the message that began the turn."""


class RunEnded(Struct, tag=True, array_like=True, frozen=True):
    """The outcome of a run. It is sent again to a new dispatcher unless it was recorded."""

    number: int
    """Counts the outcomes of one child."""
    job_id: int
    attempt: int
    job: ClaimedJob | None
    """Without its body. None if the dispatcher has it, which has given it."""
    outcome: Outcome
    pid: int
    began_at: float
    ended_at: float
    """By the machine's monotonic clock."""
    is_last: bool
    """The child takes no further job: it is to be replaced, or the worker stops."""


class Declined(Struct, tag=True, array_like=True, frozen=True):
    """A job that the child was given and has not begun: the worker stops, or it was too late."""

    job: ClaimedJob


# --- The dispatcher to a child ----------------------------------------------------------------------------------------


class Give(Struct, tag=True, array_like=True, frozen=True):
    """A job to run. The outcomes up to a number are recorded."""

    job: ClaimedJob
    recorded: int
    pid: int
    """The child that is meant. If it has ended, its successor in the place leaves the message alone."""
    begins_by: float
    """By the machine's monotonic clock: later the job must not begin, since its lease might end first."""


class Leave(Struct, tag=True, array_like=True, frozen=True):
    """The turn ends. All outcomes are recorded."""

    pid: int
    """As above."""


class Hello(Struct, tag=True, array_like=True, frozen=True):
    """A new dispatcher is there, which knows nothing of this child."""


# --- The parent to the dispatcher -------------------------------------------------------------------------------------


class Heard(Struct, tag=True, array_like=True, frozen=True):
    """A message has come: there is work in its queue."""

    number: int
    queue: str


class ChildEnded(Struct, tag=True, array_like=True, frozen=True):
    """A child has ended."""

    place: int
    pid: int
    exit_code: int
    running: Running | None
    """The run that was going on in it."""
    has_reached_limit: bool


# --- The dispatcher to the parent -------------------------------------------------------------------------------------


class Answered(Struct, tag=True, array_like=True, frozen=True):
    """Whether a child that is in its turn takes what a message tells of, or the message is to begin a turn."""

    number: int
    is_taken: bool


Message = Entered | RunEnded | Declined | Give | Leave | Hello | Heard | ChildEnded | Answered
