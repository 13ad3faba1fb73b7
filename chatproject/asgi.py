"""The ASGI application of a web process: pages, REST and admin over HTTP, and the WebSocket at `/ws`."""

import os

from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.core.asgi import get_asgi_application
from django.urls import path
from prometheus_client import REGISTRY, start_http_server

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
# Django must be set up before any module that touches a model is imported.
http = get_asgi_application()

from django.conf import settings  # noqa: E402

from chatproject.handshake import Handshake  # noqa: E402
from kafka_layer.metrics import LayerCollector  # noqa: E402
from messaging.consumers import ChatConsumer  # noqa: E402

if settings.METRICS_PORT:
    # Not on the public port: metrics are for the operator.
    REGISTRY.register(LayerCollector(get_channel_layer()))
    start_http_server(settings.METRICS_PORT, addr="127.0.0.1")

websocket = Handshake(URLRouter([path("ws", ChatConsumer.as_asgi())]), allowed_origins=settings.ALLOWED_ORIGINS)

application = ProtocolTypeRouter({"http": http, "websocket": CookieMiddleware(SessionMiddleware(websocket))})
