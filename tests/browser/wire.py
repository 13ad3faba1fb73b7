import json
from typing import Any

from playwright.sync_api import Page, WebSocketRoute, expect

Frame = dict[str, Any]


class Wire:
    """The WebSocket of one page, where a test cuts, refuses and changes what passes; reloads the page to get there."""

    def __init__(self, page: Page) -> None:
        self.down = False
        # Frames of the page, oldest first, over all connections.
        self.sent: list[Frame] = []
        # Error codes with which the next sends are answered instead of being passed on.
        self.refusals: list[str] = []
        self.drop_next_ack = False
        # How many of the next resumes are answered as if something could not be had any more.
        self.denied_recoveries = 0
        # Told to the page before its next subscription to a room is answered.
        self.before_subscribed: list[Frame] = []
        self._socket: WebSocketRoute | None = None
        page.route_web_socket("**/ws", self._connect)
        page.reload()
        expect(page.locator("body")).to_have_attribute("data-connection", "connected")

    def cut(self, code: int = 4010) -> None:
        assert self._socket is not None
        socket, self._socket = self._socket, None
        socket.close(code=code)

    def _connect(self, socket: WebSocketRoute) -> None:
        if self.down:
            socket.close(code=4012)
            return
        self._socket = socket
        server = socket.connect_to_server()
        socket.on_message(lambda text: self._from_page(json.loads(text), socket, server))
        server.on_message(lambda text: self._from_server(json.loads(text), socket))

    def _from_page(self, frame: Frame, socket: WebSocketRoute, server: WebSocketRoute) -> None:
        self.sent.append(frame)
        if frame["type"] == "send" and self.refusals:
            socket.send(json.dumps({"type": "error", "id": frame["id"], "code": self.refusals.pop(0), "detail": "No."}))
        else:
            server.send(json.dumps(frame))

    def _from_server(self, received: Frame | list[Frame], socket: WebSocketRoute) -> None:
        if socket is not self._socket:
            return  # it was cut meanwhile
        frames = received if isinstance(received, list) else [received]
        if self.drop_next_ack and any(frame["type"] == "ack" for frame in frames):
            self.drop_next_ack = False
            self.cut()
            return
        for frame in frames:
            if self.denied_recoveries and frame["type"] == "subscribed" and "room" in frame:
                self.denied_recoveries -= 1
                frame["recovered"] = False
            if frame["type"] == "subscribed" and "room" in frame:
                self.tell(*self.before_subscribed)
                self.before_subscribed = []
        socket.send(json.dumps(frames))

    def tell(self, *frames: Frame) -> None:
        """Let the page believe that the server says this."""
        if self._socket is not None and frames:
            self._socket.send(json.dumps(frames))

    def sends(self) -> list[Frame]:
        return [frame for frame in self.sent if frame["type"] == "send"]
