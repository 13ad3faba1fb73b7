from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from events.admin import ReadOnlyAdmin
from outbox.models import OutboxEvent, OutboxLease


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unsent", "unsent"), ("retried", "refused, tried again"), ("dead", "dead"), ("sent", "sent")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxEvent]) -> QuerySet[OutboxEvent]:
        conditions = {
            "unsent": Q(sent_at=None, dead_at=None),
            "retried": Q(sent_at=None, dead_at=None, attempts__gt=0),
            "dead": Q(dead_at__isnull=False),
            "sent": Q(sent_at__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "state", "age", "type", "subject", "version", "attempts", "last_error")
    list_filter = (StateFilter, "type")
    search_fields = ("subject", "key")
    show_full_result_count = False

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """The unsent ones first, the oldest of them on top: what a person on call looks for."""
        return [F("sent_at").desc(nulls_first=True), "created_at"]

    @admin.display(description="state")
    def state(self, event: OutboxEvent) -> str:
        return event.state

    @admin.display(description="age until sent")
    def age(self, event: OutboxEvent) -> timedelta:
        return (event.sent_at or timezone.now()) - event.created_at


@admin.register(OutboxLease)
class OutboxLeaseAdmin(ReadOnlyAdmin):
    list_display = ("epoch", "holder", "renewed_at", "age")

    @admin.display(description="since the last renewal")
    def age(self, lease: OutboxLease) -> timedelta:
        return timezone.now() - lease.renewed_at
