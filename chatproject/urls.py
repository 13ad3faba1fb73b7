from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from chatproject.api import api

ADMIN = [path("admin/figures/", include("chatproject.figures")), path("admin/", admin.site.urls)]

urlpatterns = [
    path("", include("messaging.urls")),
    path("password-reset/", include("accounts.urls")),
    *(ADMIN if settings.ADMIN else []),
    path("api/v1/", api.urls),
    path("health/", include("chatproject.health")),
]
