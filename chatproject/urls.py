from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from chatproject.api import api

urlpatterns = [
    path("", include("messaging.urls")),
    *([path("admin/", admin.site.urls)] if settings.ADMIN else []),
    path("api/v1/", api.urls),
    path("health/", include("chatproject.health")),
]
