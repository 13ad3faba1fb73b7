import json
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html

from events.admin import ReadOnlyAdmin
from outbox.models import PENDING, OutboxEvent, OutboxLease
from outbox.services import discard_dead_step, replay_dead_step

# What a person on call looks for: neither sent nor discarded.
OPEN = "open"
CONDITIONS = {
    OPEN: PENDING,
    "unsent": PENDING & Q(dead_at=None),
    "retried": PENDING & Q(dead_at=None, attempts__gt=0),
    "dead": PENDING & Q(dead_at__isnull=False),
    "discarded": Q(discarded_at__isnull=False),
    "sent": Q(sent_at__isnull=False),
}
# Each has an index, or few rows; the sent ones are millions.
ORDER = {"discarded": "-dead_at", "sent": "-sent_at"}
SHOWN = 100  # rows on one page, and on the page that asks whether one is sure
USUAL_LEASE = 10  # seconds, the default of run_outbox_poller


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, "refused, tried again" if state == "retried" else state) for state in CONDITIONS]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Without "all": they have no order that an index serves."""
        _, *choices = super().choices(changelist)
        for choice in choices:
            yield {**choice, "selected": choice["selected"] or (self.value() is None and choice["display"] == OPEN)}

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxEvent]) -> QuerySet[OutboxEvent]:
        return queryset.filter(CONDITIONS.get(self.value() or OPEN, PENDING))


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    """Whoever may decide (`decide_outboxevent`) replays and discards dead rows; the row's history says who did."""

    list_display = ("created_at", "state", "age", "type", "subject", "version", "attempts", "last_error")
    list_filter = (StateFilter, "type")
    search_fields = ("subject", "key")
    show_full_result_count = False
    actions = ("replay", "discard")
    fields = (
        "state", "type", "subject", "version", "topic", "key", "data", "created_at", "age", "attempts", "last_error",
        "next_attempt_at", "dead_at", "held_up", "discarded_at", "sent_at", "epoch",
    )  # fmt: skip

    def get_ordering(self, request: HttpRequest) -> list[str]:
        return [ORDER.get(request.GET.get(StateFilter.parameter_name, OPEN), "created_at")]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("outbox.decide_outboxevent")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        # The sent ones are many, and their number says nothing.
        few = {name: Count("pk", filter=CONDITIONS[name]) for name in ("unsent", "retried", "dead")}
        counts = OutboxEvent.objects.filter(PENDING).aggregate(**few)
        try:
            return super().changelist_view(request, {**(extra_context or {}), "counts": counts})
        except ValidationError:
            self.message_user(request, "That is no id of an event.", messages.ERROR)
            return HttpResponseRedirect(request.path)

    @admin.display(description="age until sent")
    def age(self, event: OutboxEvent) -> timedelta:
        return (event.sent_at or timezone.now()) - event.created_at

    def data(self, event: OutboxEvent) -> str:
        return format_html("<pre>{}</pre>", json.dumps(event.payload, indent=2, ensure_ascii=False))

    @admin.display(description="later events that wait behind it")
    def held_up(self, event: OutboxEvent) -> int:
        later = OutboxEvent.objects.filter(
            PENDING, aggregate_type=event.aggregate_type, aggregate_id=event.aggregate_id, version__gt=event.version
        )
        return later.count() if event.state in {"dead", "retried"} else 0

    @admin.action(description="Replay dead events", permissions=["decide"])
    def replay(self, request: HttpRequest, events: QuerySet[OutboxEvent]) -> None:
        self._decide(request, events, replay_dead_step, "Replayed")

    @admin.action(description="Discard dead events …", permissions=["decide"])
    def discard(self, request: HttpRequest, events: QuerySet[OutboxEvent]) -> HttpResponse | None:
        dead = events.filter(CONDITIONS["dead"])
        # Asked once more when others have died since.
        if request.POST.get("sure") == str(dead.count()):
            self._decide(request, events, discard_dead_step, "Discarded")
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Discard dead events?",
            "opts": self.opts,
            "count": dead.count(),
            "events": dead[:SHOWN],
            "all": request.POST.get("select_across") == "1",
        }
        return TemplateResponse(request, "admin/outbox/outboxevent/discard.html", context)

    def _decide(
        self,
        request: HttpRequest,
        events: QuerySet[OutboxEvent],
        step: Callable[[Collection[UUID]], list[OutboxEvent]],
        done: str,
    ) -> None:
        dead = list(events.filter(CONDITIONS["dead"]).values_list("pk", flat=True))
        with transaction.atomic():
            decided = step(dead)
            for event in decided:
                self.log_change(request, event, f"{done}.")
        if decided:
            self.message_user(request, f"{done}: {len(decided)}.", messages.SUCCESS)
        if others := events.exclude(pk__in=[event.pk for event in decided]).count():
            self.message_user(request, f"{others} were not dead (any more) and are as they were.", messages.WARNING)


@admin.register(OutboxLease)
class OutboxLeaseAdmin(ReadOnlyAdmin):
    list_display = ("epoch", "holder", "renewed_at", "age", "verdict")

    @admin.display(description="since the last renewal")
    def age(self, lease: OutboxLease) -> timedelta:
        return timezone.now() - lease.renewed_at

    @admin.display(description="is somebody at work?")
    def verdict(self, lease: OutboxLease) -> str:
        if not lease.holder:
            return "No: the last one has given it back. Start run_outbox_poller."
        if self.age(lease).total_seconds() > USUAL_LEASE:
            return "Hardly: it was not renewed for longer than a lease lasts. Look at the pollers."
        return "Yes."
