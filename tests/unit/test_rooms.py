"""Room names."""

import pytest
from django.core.exceptions import ValidationError

from rooms.models import clean_name


@pytest.mark.parametrize(
    "name", ["x", "Café №5", "대화방", "全角\u3000空白", "👩\u200d👩\u200d👧", "❤\ufe0f", "می\u200cخواهم", "n" * 80]
)
def test_names_of_any_script(name: str) -> None:
    """Also those whose letters and emoji need joiners that nobody sees."""
    assert clean_name(f"  {name}\t") == name


@pytest.mark.parametrize(
    "name",
    ["", " \n ", "n" * 81, "a\0b", "a\nb", "a\u202eb", "\u200d", "a\u2028b", "a\ud800", "\u2800", "\u3164\ufe0f"],
)
def test_what_is_no_name(name: str) -> None:
    """Nothing empty, too long, hidden or of several lines."""
    with pytest.raises(ValidationError):
        clean_name(name)
