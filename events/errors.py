"""What can be wrong with events and the logs that carry them."""


class InvalidRecord(Exception):
    """The record can never be handled, however often it is tried; the text says why."""


class OffsetConflict(Exception):
    """Somebody else has moved the stored offset in the meantime: roll back, seek to the stored offset, go on."""


class TopicMismatch(Exception):
    """A topic exists, but not as this project needs it; the text says how to mend that."""


class NoSuchLetter(Exception):
    """The dead letter is not there (any more), or does not say where it is from."""


class LetterDecided(Exception):
    """Somebody has replayed or dropped the dead letter before."""


class TooManyBad(Exception):
    """Too large a share of a partition's records is bad: something else is wrong, and nothing more is set aside."""
