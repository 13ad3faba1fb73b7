"""What the environment says, in Django's words."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from chatproject.settings import read_database_url


def read(url: str) -> dict[str, Any]:
    return read_database_url(url)


def test_a_database_url_is_read_as_libpq_does() -> None:
    """Escapes, options, and a port that is left out."""
    database = read("postgresql://me:p%40ss@db/chat?sslmode=require&connect_timeout=7")
    assert [database[word] for word in ("USER", "PASSWORD", "HOST", "PORT", "NAME")] == ["me", "p@ss", "db", "", "chat"]
    assert (database["OPTIONS"]["sslmode"], database["OPTIONS"]["connect_timeout"]) == ("require", "7")
    assert "target_session_attrs" not in database["OPTIONS"]


def test_of_several_hosts_the_one_that_can_be_written_to_is_taken_unless_the_url_says_otherwise() -> None:
    """IPv6 addresses too."""
    url = "postgresql://me@one:5433,[::2]:5434/chat"
    database, asked = read(url), read(f"{url}?target_session_attrs=primary")
    assert (database["HOST"], database["PORT"]) == ("one,::2", "5433,5434")
    assert database["OPTIONS"]["target_session_attrs"] == "read-write"
    assert asked["OPTIONS"]["target_session_attrs"] == "primary"


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@db/chat", "postgresql://me:secret@[db/chat", "postgresql://me:secret@db/chat?sslmod=x"]
)
def test_a_database_url_that_cannot_be_read_is_explained_without_its_password(url: str) -> None:
    """What libpq says would show it."""
    with pytest.raises(ImproperlyConfigured, match="it looks like postgresql://") as error:
        read(url)
    assert "secret" not in str(error.value)
