import pytest


@pytest.fixture(scope="session")
def django_db_modify_db_settings(stack: object, django_db_modify_db_settings: None) -> None:
    """The services run before Django makes the test database."""
