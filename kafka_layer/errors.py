"""What can go wrong. The family of an error of a send says whether the message may already be stored."""

from typing import Self

from channels.exceptions import MessageTooLarge


class LayerError(Exception):
    """Something the channel layer was asked for did not happen."""

    def again(self) -> Self:
        """To raise one error many times: its traceback would grow each time, and keep alive what it passed through."""
        return self.with_traceback(None)


class NotProduced(LayerError):
    """Nothing left this process: the message is certainly not stored."""


class PublishFailed(LayerError):
    """Kafka did not confirm in time: the message may be stored, now or a little later."""


class BrokerUnavailable(NotProduced):
    """No Kafka broker answered in time."""


class TopicMissing(NotProduced):
    """A topic of the channel layer does not exist."""


class TopicMismatch(NotProduced):
    """A topic has another number of partitions than it must have, or was created anew."""


class RecordTooLarge(NotProduced, MessageTooLarge):  # type: ignore[misc]
    """The encoded message is larger than a record may be."""


class LayerClosed(LayerError):
    """The channel layer was closed, or its reader has died; nothing more will be delivered here."""


class Unsupported(LayerError):
    """The channel layer does not do this, and says so instead of losing messages."""


class InvalidRecord(LayerError):
    """The value of a record is not an encoded message."""
