"""What the probe process asks broker and inbox about the worker's queues. Each question ends within a few seconds."""

import logging
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.due import claimable_seconds
from webhooks.publishing.broker import Broker
from webhooks.threads import place_of
from workers.probes.liveness import Answers, Check

logger = logging.getLogger(__name__)


class QueueCheck:
    """Asks over a connection to the broker of its own, which is opened with the first question.

    The committer limits the wait for a database that does not answer.
    """

    def __init__(self, committer: Committer | None = None) -> None:
        self._broker = Broker()
        self._committer = committer or Committer(threads=1)
        self.broker_reason = ""
        """What was wrong with the broker when it was asked last: words to put after "the broker"."""

    def ask(self, reason: Check, queues: Sequence[str], *, unstarted: int) -> Answers:
        """Ask the broker; and the inbox too, if progress is to be checked and there is a message to take.

        Any failure counts as "no answer", which is no reason for a restart. An outage may raise unforeseen errors; if
        they ended this process again and again, Kubernetes would restart the worker.
        """
        try:
            messages = self._messages(queues)
            needs_inbox = reason is Check.PROGRESS and messages is not None and messages + unstarted > 0
            return Answers(broker_messages=messages, due_seconds=self._due_seconds(queues) if needs_inbox else None)
        except Exception as error:
            logger.error("broker or inbox could not be asked", extra={"error": place_of(error)})
            self._broker = Broker()  # The old one may be in any state.
            return Answers(broker_messages=None, due_seconds=None)

    def _messages(self, queues: Sequence[str]) -> int | None:
        """Return how many messages wait in all queues; None if the broker does not answer, or there is no queue."""
        try:
            messages = sum(self._broker.depth(queue) for queue in queues) if queues else None
        except OperationalError as error:
            self.broker_reason = str(error)
            return None
        self.broker_reason = ""
        return messages

    def _due_seconds(self, queues: Sequence[str]) -> float | None:
        try:
            return self._committer.run(lambda: claimable_seconds(queues))
        except InboxUnavailableError:
            return None
