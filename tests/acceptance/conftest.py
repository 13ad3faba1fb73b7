import pytest


@pytest.fixture(scope="session", autouse=True)
def _services(stack: object) -> None:
    """Tests of single processes meet the real services."""
