"""A forgotten password: a mail with a link that lets its reader choose another one."""

from collections.abc import Iterator
from functools import partial

from django.conf import settings
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.limits import network_of, require
from accounts.mail import postman
from accounts.models import User
from accounts.tokens import reset_tokens

# People with the same address who get a mail each.
MAX_MAILS = 10


def public_origin(request: HttpRequest) -> str | None:
    """Where links in mails lead; None: nobody has said, and what a request names as its host may be forged. On a
    developer's machine it is one of ALLOWED_HOSTS."""
    if settings.PUBLIC_ORIGIN or not settings.EMBEDDED:
        return str(settings.PUBLIC_ORIGIN) if settings.PUBLIC_ORIGIN else None
    return f"{request.scheme}://{request.get_host()}"


def request_reset(*, email: str, client: str, origin: str) -> None:
    """Send a link to each active person with this e-mail address. Nothing here depends on whether there is one, in
    answer or time: people are looked up where the mail is sent. Raises `ChatError` `rate_limited`."""
    require("resets", network_of(client))
    # The address itself is nobody's business in Redis. Who uses these up for somebody else has made that person's mails
    # be sent.
    # In the form in which the database compares addresses, where the dotless i is an I.
    digest = salted_hmac("accounts.reset", email.upper().casefold(), algorithm="sha256").hexdigest()
    require("reset_mails", digest)
    postman.post(partial(_mails, email, origin))


def _mails(email: str, origin: str) -> Iterator[EmailMessage]:
    for user in User.objects.with_email(email)[:MAX_MAILS]:
        if not user.has_usable_password():
            continue
        path = reverse(
            "new-password", args=[urlsafe_base64_encode(force_bytes(user.pk)), reset_tokens.make_token(user)]
        )
        words = {"user": user, "link": f"{origin}{path}", "minutes": settings.PASSWORD_RESET_TIMEOUT // 60}
        # To the address on record: what was typed may only look like it.
        yield EmailMessage("Your password", render_to_string("accounts/reset_mail.txt", words), to=[user.email])
