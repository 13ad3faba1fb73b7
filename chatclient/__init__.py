"""A client of the chat's WebSocket, `chat.v1`, for programs.

    async with ChatClient(["http://one:8000", "http://two:8000"], token) as client:
        await client.subscribe(12)
        await client.send(12, "hello")
        async for event in client:
            ...

It keeps the protocol's rules so that nothing is missed or said twice: it comes back with backoff, resumes each room
behind the last cursor, sends again what is not acknowledged, and drops what it has seen. Where something cannot be had
any more the caller is told by an event of the type `gap`.
"""

from chatclient.backoff import Backoff
from chatclient.client import ChatClient
from chatclient.errors import ChatClientError, Ended, Lost, Refused
from chatclient.frames import Frame

__all__ = ["Backoff", "ChatClient", "ChatClientError", "Ended", "Frame", "Lost", "Refused"]
