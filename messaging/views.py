from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie


@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """The web client: one page, which fetches everything else by REST and the WebSocket."""
    return render(request, "messaging/index.html")


@ensure_csrf_cookie
def account(request: HttpRequest) -> HttpResponse:
    """The page where people look after their account; like the other one it fetches everything else."""
    return render(request, "messaging/account.html")
