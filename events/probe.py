"""The internal port of a process: `/metrics` for Prometheus, `/ready` and what else there is for its supervisor."""

import json
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class SilentHandler(WSGIRequestHandler):
    timeout = 10  # seconds; nobody keeps a thread for longer

    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds."""


def serve_probe(
    port: int,
    *,
    host: str = "127.0.0.1",
    problem: Callable[[], str | None],
    actions: Mapping[str, Callable[[], None]] | None = None,
) -> Server:
    """Serve from a thread until the process ends; `port` 0 takes a free one.

    `/ready` answers 200, or 503 with what `problem` says. `POST` to a path of `actions` calls that in a thread and
    answers 204 when it has returned. Raises `OSError` when the port is taken.
    """
    metrics = make_wsgi_app()

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "POST" and actions and path in actions:
            actions[path]()
            start_response("204 No Content", [])
            return []
        if path != "/ready":
            return cast("Iterable[bytes]", metrics(environ, start_response))
        trouble = problem()
        start_response("503 Service Unavailable" if trouble else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"ready": trouble is None, "problem": trouble}).encode()]

    server = make_server(host, port, application, server_class=Server, handler_class=SilentHandler)
    Thread(target=server.serve_forever, name="probe", daemon=True).start()
    return server
