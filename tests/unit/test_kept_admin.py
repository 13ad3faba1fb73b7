"""Asking Kafka again and again."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from events.kept_admin import KeptAdmin


def ask(admin: KeptAdmin, error: Exception | None = None) -> object:
    """The client that a question was put to, which ends with this error."""
    with admin.asking() as client:
        if error is not None:
            raise error
    return client


@pytest.mark.parametrize("error", [KafkaException(KafkaError(KafkaError._TRANSPORT)), TimeoutError()])
def test_a_client_is_kept_until_a_question_fails(error: Exception):
    admin = KeptAdmin("127.0.0.1:1", client_id="test")
    first = ask(admin)
    assert ask(admin) is first
    with pytest.raises(type(error)):
        ask(admin, error)
    assert ask(admin) is not first
