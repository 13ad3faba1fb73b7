import json
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html

from events.admin import ReadOnlyAdmin
from events.schemas import EventType
from outbox.models import DISCARDED, PENDING, OutboxEvent, OutboxLease
from outbox.services import discard_dead_step, replay_dead_step

# What a person on call looks for: neither sent nor discarded.
OPEN = "open"
CONDITIONS = {
    OPEN: PENDING,
    "unsent": PENDING & Q(dead_at=None),
    "retried": PENDING & Q(dead_at=None, attempts__gt=0),
    "dead": PENDING & Q(dead_at__isnull=False),
    "discarded": DISCARDED,
    "sent": Q(sent_at__isnull=False),
}
# Each has an index, or few rows; the sent ones are millions.
ORDER = {"discarded": "-dead_at", "sent": "-sent_at"}
COUNTED = 10_000  # rows of a list
SHOWN = 100  # rows on one page, and on the page that asks whether one is sure


class FewPages(Paginator[Any]):
    """Counts no further than anybody turns the pages."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows[:COUNTED].count()


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


class TypeFilter(admin.SimpleListFilter):
    """The types that there are, not those that the millions of rows happen to have."""

    title = parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(type.value, type.value) for type in EventType]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxEvent]) -> QuerySet[OutboxEvent]:
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    """Whoever may decide (`decide_outboxevent`) replays and discards dead rows; the row's history says who did."""

    list_display = ("created_at", "state", "age", "type", "subject", "version", "attempts", "last_error")
    list_filter = (StateFilter, TypeFilter)
    search_fields = ("subject", "key")
    show_full_result_count = False
    paginator = FewPages
    actions = ("replay", "discard")
    fields = (
        "state", "type", "subject", "version", "topic", "key", "data", "created_at", "age", "attempts", "last_error",
        "next_attempt_at", "dead_at", "held_up", "discarded_at", "sent_at", "epoch",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEvent]:
        rows: QuerySet[OutboxEvent] = super().get_queryset(request)
        return rows.annotate(age=_time_since("created_at", until=Coalesce("sent_at", Now())))

    def get_ordering(self, request: HttpRequest) -> list[str]:
        return [ORDER.get(request.GET.get(StateFilter.parameter_name, OPEN), "created_at")]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("outbox.decide_outboxevent")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if set(self.actions).intersection(request.POST.getlist("action")) and not self.has_decide_permission(request):
            # Django would show the list again as if nothing had been asked.
            self.message_user(request, "You may look at events, but not replay or discard them.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        try:
            return super().changelist_view(request, {**(extra_context or {}), "counts": _counts()})
        except ValidationError:
            self.message_user(request, "That is no id of an event.", messages.ERROR)
            return HttpResponseRedirect(request.path)

    @admin.display(description="age until sent")
    def age(self, event: Any) -> timedelta:
        age: timedelta = event.age
        return age

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
        # Who decides at the same moment may take rows away from both.
        chosen = events.count()
        dead = list(events.filter(CONDITIONS["dead"]).values_list("pk", flat=True))
        with transaction.atomic():
            decided = step(dead)
            for event in decided:
                self.log_change(request, event, f"{done}.")
        if decided:
            self.message_user(request, f"{done}: {len(decided)}.", messages.SUCCESS)
        if others := chosen - len(decided):
            self.message_user(request, f"{others} were not dead (any more) and are as they were.", messages.WARNING)


@admin.register(OutboxLease)
class OutboxLeaseAdmin(ReadOnlyAdmin):
    list_display = ("epoch", "holder", "renewed_at", "age", "life", "verdict")
    fields = list_display

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxLease]:
        rows: QuerySet[OutboxLease] = super().get_queryset(request)
        return rows.annotate(age=_time_since("renewed_at", until=Now()))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    @admin.display(description="since the last renewal")
    def age(self, lease: Any) -> timedelta:
        age: timedelta = lease.age
        return age

    @admin.display(description="is somebody at work?")
    def verdict(self, lease: OutboxLease) -> str:
        if not lease.holder:
            return "No: the last one has given it back. Start run_outbox_poller."
        if self.age(lease).total_seconds() > lease.life:
            return "Hardly: it was not renewed for longer than the lease lasts. Look at the pollers."
        return "Yes."


def _time_since(field: str, *, until: Any) -> ExpressionWrapper[Any]:
    """By the database's clock, as everything that is compared with it."""
    return ExpressionWrapper(until - F(field), output_field=DurationField())


def _counts() -> dict[str, int]:
    """The sent ones are many, and their number says nothing."""
    few = {name: Count("pk", filter=CONDITIONS[name]) for name in ("unsent", "retried", "dead")}
    counts = OutboxEvent.objects.filter(PENDING).aggregate(**few)
    return {**counts, "discarded": OutboxEvent.objects.filter(DISCARDED).count()}
