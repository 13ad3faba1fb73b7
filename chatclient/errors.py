"""What can go wrong for the caller; everything else is mended by the client itself."""

from chatclient.frames import Frame


class ChatClientError(Exception):
    """The root of all errors of this package."""


class Refused(ChatClientError):
    """The server will not do it. `code` is one of the protocol's, `detail` a sentence, `retry_after` in seconds or
    None."""

    def __init__(self, frame: Frame) -> None:
        self.code: str = frame.get("code", "internal")
        self.detail: str = frame.get("detail", "")
        self.retry_after: float | None = frame.get("retry_after")
        super().__init__(f"{self.code}: {self.detail}")


class Lost(ChatClientError):
    """There is no connection, or it went before the answer came; whether the server has done it is not known."""


class Ended(ChatClientError):
    """The client has ended: `close()` was called (`code` None), or the server closed with a code after which coming
    back makes no sense (1000, 4001 signed out or a void token, 4003 deactivated)."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__("The client was closed." if code is None else f"The server closed for good with {code}.")
