"""REST: everything stored about me, to take along or to be erased."""

from typing import Any

from django.contrib import auth
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from ninja import Router, Status

from accounts.api import Password
from accounts.auth import authenticated, caller, confirm_password
from accounts.limits import require
from accounts.services import begin_erasure
from messaging.personal_data import personal_data, stream

router = Router(auth=authenticated, tags=["accounts"])


@router.get("/me/data", response=dict[str, Any])
def get_my_data(request: HttpRequest) -> HttpResponseBase:
    """Everything stored about me: account, memberships with roles and read marks, messages, and where I am named."""
    user = caller(request)
    require("exports", user.pk)
    headers = {"Content-Disposition": 'attachment; filename="chat-data.json"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(stream(personal_data(user)), content_type="application/json", headers=headers)


@router.delete("/me/data", response={204: None})
def erase_me(request: HttpRequest, confirmation: Password) -> Status[None]:
    """Erase me for good: the account is closed and its id gone with the answer, what I said follows within minutes."""
    user = caller(request)
    confirm_password(request, user, confirmation.password)
    begin_erasure(user=user)
    auth.logout(request)
    return Status(204, None)
