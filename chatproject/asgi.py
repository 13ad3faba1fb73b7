"""The ASGI application of a web process: pages, REST and admin over HTTP, and the WebSocket at `/ws`."""

import gc
import os

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import get_resolver, path, re_path
from prometheus_client import REGISTRY

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
# Django must be set up before any module that touches a model is imported.
http = get_asgi_application()

from django.conf import settings  # noqa: E402

from chatproject.client_address import ClientAddress  # noqa: E402
from chatproject.handshake import Handshake  # noqa: E402
from events.probe import serve_probe  # noqa: E402
from kafka_layer.metrics import LayerCollector  # noqa: E402
from messaging.consumers import ChatConsumer  # noqa: E402
from messaging.hub import get_hub  # noqa: E402

if settings.METRICS_PORT:
    # Not on the public port: this is for the operator.
    REGISTRY.register(LayerCollector(get_channel_layer()))
    hub = get_hub()
    serve_probe(
        settings.METRICS_PORT,
        host=settings.METRICS_HOST,
        problem=hub.problem,
        actions={"/drain": hub.drain_from_outside},
    )


async def refuse(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """There is no WebSocket at this path; the router alone would answer 500 with a traceback in the log."""
    await send({"type": "websocket.close", "code": 1000, "reason": None})


chat = Handshake(ChatConsumer.as_asgi(), allowed_origins=settings.ALLOWED_ORIGINS)
websocket = URLRouter([path("ws", chat), re_path("", refuse)])  # type: ignore[arg-type]  # Channels routes to ASGI apps

# The routes and what they import would be loaded by the first request. All that is there now stays to the end: were it
# left in sight of the garbage collector, each full collection would hold up every socket for a tenth of a second.
get_resolver().url_patterns  # noqa: B018
gc.collect()
gc.freeze()
# Records and sockets live long, and hardly any garbage here is in cycles: each look through everything would hold all
# sockets up for a tenth of a second in a large room.
gc.set_threshold(10_000, 10, 10)

router = ProtocolTypeRouter({"http": http, "websocket": websocket})
application = ClientAddress(router, trusted_proxies=settings.TRUSTED_PROXIES)
