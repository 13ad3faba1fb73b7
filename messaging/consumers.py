"""The WebSocket consumer: who is served, and who is sent away at once."""

import logging
from typing import Any
from uuid import uuid4

from channels.consumer import AsyncConsumer
from confluent_kafka import KafkaException
from django.db import DatabaseError, InterfaceError
from prometheus_client import Gauge

from accounts.errors import ChatError, ErrorCode
from accounts.limits import limited_total
from kafka_layer import LayerError
from messaging import protocol
from messaging.hub import get_hub
from messaging.protocol import CloseCode
from messaging.socket import Receive, Send
from messaging.visit import Visit

logger = logging.getLogger(__name__)

connections = Gauge("chat_connections", "WebSockets of signed-in people on this process.")


class ChatConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """Accepts a WebSocket, names its person and serves it; `chatproject.handshake` has put into the scope who it is.

    Its own small loop (`messaging.socket`) stands in the place of Channels' dispatch.
    """

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        hub = get_hub()
        try:
            if not hub.draining:
                await hub.start()
        except (LayerError, KafkaException, DatabaseError, InterfaceError, TimeoutError) as error:
            # Nothing could be delivered completely; the client comes back, and readiness says why.
            logger.warning("A socket was refused, since the log cannot be read: %s", error)
            await _close(send, CloseCode.RESTART)
            return
        subprotocol = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in scope.get("subprotocols", ()) else None
        # A browser cannot read the status of a refused handshake, so nobody is accepted too, and closed at once.
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        refusal = CloseCode.RESTART if hub.draining else _refusal_code(scope)
        if refusal is not None:
            await _close(send, refusal)
            return
        user, socket = scope["user"], uuid4().hex
        try:
            if not await hub.sockets.open_socket(user.pk, socket):
                limited_total.labels("sockets").inc()
                await _close(send, CloseCode.TOO_MANY)
                return
            if hub.draining:
                # It has begun meanwhile, and asks only those to leave whom it has found.
                await _close(send, CloseCode.RESTART)
                return
            with connections.track_inprogress():
                await Visit(hub, user, scope["session_key"], scope["expires"], receive, send).serve()
        finally:
            await hub.sockets.close_socket(user.pk, socket)


async def _close(send: Send, code: CloseCode) -> None:
    await send({"type": "websocket.close", "code": int(code)})


def _refusal_code(scope: dict[str, Any]) -> CloseCode | None:
    """Why a person is not served; None for one who is."""
    if scope["user"] is not None:
        return None
    refusal: ChatError | None = scope.get("refusal")
    match None if refusal is None else refusal.code:
        case ErrorCode.FORBIDDEN:
            return CloseCode.DEACTIVATED
        case ErrorCode.UNAVAILABLE:
            # Nobody is known to be signed out: the client comes back.
            return CloseCode.RESTART
    return CloseCode.SIGNED_OUT
