from typing import Any

from confluent_kafka import KafkaException
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from events.errors import LetterDecided, NoSuchLetter
from events.letter_box import DeadLetter, LetterBox
from events.models import DeadLetterDecision

SHOWN = 100  # letters


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """To look at: no form writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(DeadLetterDecision)
class DeadLetterDecisionAdmin(ReadOnlyAdmin):
    """The open letters of the topic, with the buttons to decide, above the decisions. Who may add decisions may see
    the records and decide."""

    list_display = ("offset", "action", "by", "at", "origin", "reason")
    list_filter = ("action",)
    search_fields = ("origin", "reason", "by")
    show_full_result_count = False

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(require_POST(self.decide))
        return [path("decide/", decide, name="events_deadletterdecision_decide"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"letters": _open_letters(), "may_decide": _may_decide(request)}
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def decide(self, request: HttpRequest) -> HttpResponse:
        if not _may_decide(request):
            raise PermissionDenied
        box = LetterBox(settings.KAFKA_BOOTSTRAP_SERVERS)
        act = box.replay if request.POST.get("action") == "replay" else box.drop
        for number in request.POST.getlist("number"):
            try:
                messages.success(request, str(act(int(number), by=request.user.get_username())))
            except (NoSuchLetter, LetterDecided) as error:
                messages.error(request, str(error))
            except KafkaException as error:
                messages.error(request, f"Kafka does not answer; the letter {number} stays open: {error}")
        return HttpResponseRedirect(reverse("admin:events_deadletterdecision_changelist"))


def _may_decide(request: HttpRequest) -> bool:
    return request.user.has_perm("events.add_deadletterdecision")


def _open_letters() -> list[DeadLetter] | None:
    """None: Kafka does not answer."""
    try:
        return LetterBox(settings.KAFKA_BOOTSTRAP_SERVERS).newest(SHOWN)
    except KafkaException:
        return None
