"""RabbitMQ's confirms of a group: in any order, of several messages at once, missing, or refusing."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from amqp.exceptions import MessageNacked

from webhooks.publishing.confirms import Confirms

Answer = tuple[str, int, bool]
"""The event, the message's number, and whether it is about all messages up to it."""


class Channel:
    """A channel whose broker answers so, one frame after the other, and then is silent."""

    def __init__(self, *answers: Answer) -> None:
        self.events: dict[str, set[Callable[[int, bool], None]]] = defaultdict(set)
        self.is_confirming = False
        self.connection = self
        self._answers = list(answers)

    def confirm_select(self) -> None:
        self.is_confirming = True

    def drain_events(self, *, timeout: float) -> None:
        assert timeout > 0
        if not self._answers:
            raise TimeoutError
        event, number, up_to_it = self._answers.pop(0)
        for callback in self.events[event]:
            callback(number, up_to_it)


def confirms(*answers: Answer, sent: int) -> Confirms:
    channel: Any = Channel(*answers)
    expected = Confirms(channel)
    assert channel.is_confirming
    for _ in range(sent):
        expected.expect()
    return expected


def test_it_waits_for_each_message_in_whatever_order_they_are_confirmed() -> None:
    confirms(("basic_ack", 2, False), ("basic_ack", 1, False), ("basic_ack", 3, False), sent=3).wait(seconds=9)
    with pytest.raises(TimeoutError):
        confirms(("basic_ack", 3, False), ("basic_ack", 2, False), sent=3).wait(seconds=9)


def test_one_confirm_may_be_about_all_messages_up_to_it() -> None:
    confirms(("basic_ack", 4, False), ("basic_ack", 3, True), sent=4).wait(seconds=9)
    with pytest.raises(TimeoutError):
        confirms(("basic_ack", 3, True), sent=4).wait(seconds=9)


def test_a_second_group_waits_for_its_own_messages() -> None:
    expected = confirms(("basic_ack", 1, False), ("basic_ack", 2, False), sent=1)
    expected.wait(seconds=9)
    expected.expect()
    expected.wait(seconds=9)
    expected.wait(seconds=9)


def test_a_refused_message_is_an_error() -> None:
    with pytest.raises(MessageNacked):
        confirms(("basic_ack", 1, False), ("basic_nack", 2, False), sent=3).wait(seconds=9)
