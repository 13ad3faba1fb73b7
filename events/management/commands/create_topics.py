"""Create the topics of the chat that are missing; refuse what cannot work."""

from typing import Any

from confluent_kafka import KafkaException
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from events.errors import TopicMismatch
from events.provisioning import create_topics


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            created = create_topics(settings.KAFKA_BOOTSTRAP_SERVERS, replication=settings.KAFKA_REPLICATION)
        except TopicMismatch as error:
            raise CommandError(str(error)) from error
        except KafkaException as error:
            raise CommandError(
                f"Kafka at {settings.KAFKA_BOOTSTRAP_SERVERS} did not create the topics: {error}"
            ) from error
        self.stdout.write(f"Created {', '.join(created)}." if created else "All topics are there.")
