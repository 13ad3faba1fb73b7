import pytest


@pytest.fixture(scope="session", autouse=True)
def _services(stack: object) -> None:
    """Integration tests meet the real services."""
