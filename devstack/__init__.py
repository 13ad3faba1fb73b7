"""Embedded PostgreSQL, Redis and Apache Kafka: real services from packages, for a developer's machine and for tests."""

from devstack.errors import StackError
from devstack.stack import DevStack
from devstack.state import VARIABLES

__all__ = ["VARIABLES", "DevStack", "StackError"]
