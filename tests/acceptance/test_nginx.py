"""Two web processes behind nginx, with the configuration of `compose/`: one address for everybody."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection
from threading import Thread
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from devstack.nginx import CONFIGURATION, prepare_nginx
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import Process, free_port, wait_for


@contextmanager
def nginx(folder: Path, *web_ports: int, connections: int | None = None) -> Iterator[str]:
    """The address at which nginx passes on to these ports. `connections`: what an address may have, this machine's
    too."""
    folder = folder / "nginx"
    folder.mkdir()
    port = free_port()
    _, *command = prepare_nginx(folder, port=port, web_ports=web_ports)
    if connections is not None:
        limit_connections(folder, connections)
    process = Process(*command, name="nginx", environment={}, folder=folder).start()
    try:
        wait_for(lambda: answers(port), lambda: f"nginx serves; its log: {process.output()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()
    assert [line for line in process.output().splitlines() if "[emerg]" in line or "[alert]" in line] == []


def limit_connections(folder: Path, most: int) -> None:
    """The loopback address is free of the limit, and no test has a thousand connections."""
    changes = {"http.conf": ("127.0.0.0/8 1;", "127.0.0.0/8 0;"), "chat.conf": (" 1000;", f" {most};")}
    for name, (old, new) in changes.items():
        text = (CONFIGURATION / name).read_text()
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new))
    main = folder / "nginx.conf"
    main.write_text(main.read_text().replace(str(CONFIGURATION), str(folder)))


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


async def test_who_is_on_a_killed_web_process_goes_on_at_the_same_address_and_misses_nothing(
    chat: Chat, tmp_path: Path
) -> None:
    webs = [chat.web("web1"), chat.web("web2")]
    alice, bob = chat.tokens(2).values()
    with nginx(tmp_path, *(web.port for web in webs)) as url:
        room = await asyncio.to_thread(create_room, url, alice)
        # Taken in turn, the two are on two web processes.
        async with ChatClient(url, alice) as one, ChatClient(url, bob) as two:
            for client in (one, two):
                seen = await client.subscribe(room)
            webs[0].kill()
            ended = await wait_for_an_end(one, two)
            left = two if ended is one else one
            for n in range(3):
                await left.say(room, f"missed {n}")
            async with ChatClient(url, ended.token) as again:
                answer = await again.subscribe(room, after=seen["cursor"])
                assert answer["recovered"] is True
                await again.until(lambda client: client.texts(room) == [f"missed {n}" for n in range(3)])
        # No call meets the web process that is gone.
        for _ in range(6):
            assert (await asyncio.to_thread(call, url, alice, "GET", f"/rooms/{room}"))["id"] == room


async def wait_for_an_end(*clients: ChatClient) -> ChatClient:
    """The first of the clients that loses its connection."""
    tasks = {asyncio.create_task(client.closed()): client for client in clients}
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return tasks[done.pop()]


async def test_a_page_of_the_same_address_may_open_the_socket_and_no_other(chat: Chat, tmp_path: Path) -> None:
    """The web process sees the host that the browser asked for, port included."""
    web = chat.web()
    with nginx(tmp_path, web.port) as url:
        socket = url.replace("http", "ws", 1) + "/ws"
        async with connect(socket, origin=url) as connection:  # type: ignore[arg-type]  # an Origin is a str
            await connection.wait_closed()
            assert connection.close_code == 4001, "accepted, and nobody is signed in"
        with pytest.raises(InvalidStatus) as refusal:
            await connect(socket, origin=f"http://127.0.0.1:{web.port}")  # type: ignore[arg-type]
        assert refusal.value.response.status_code == 403


async def test_an_address_has_so_many_connections_and_gets_their_places_back(chat: Chat, tmp_path: Path) -> None:
    web = chat.web()
    (alice,) = chat.tokens(1).values()
    with nginx(tmp_path, web.port, connections=2) as url:
        socket = url.replace("http", "ws", 1) + "/ws"
        async with ChatClient(url, alice), ChatClient(url, alice):
            assert await status_of(socket, url) == 429
        async with asyncio.timeout(10):
            while (status := await status_of(socket, url)) == 429:
                pass
        assert status == 101


async def status_of(socket: str, origin: str) -> int:
    try:
        async with connect(socket, origin=origin) as connection:  # type: ignore[arg-type]  # an Origin is a str
            assert connection.response is not None
            return connection.response.status_code
    except InvalidStatus as refusal:
        return refusal.response.status_code


def test_who_does_not_finish_a_request_is_cut_off(tmp_path: Path) -> None:
    """Each would hold a connection for as long as it likes."""
    port = free_port()
    with nginx(tmp_path, port) as url, closing(create_connection(address_of(url), timeout=20)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    return parts.hostname, parts.port


def test_what_a_client_says_about_its_address_is_replaced(tmp_path: Path) -> None:
    seen: list[list[str] | None] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get_all("X-Forwarded-For"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as upstream:
        Thread(target=upstream.serve_forever, daemon=True).start()
        with nginx(tmp_path, upstream.server_port) as url:
            forged = urllib.request.Request(url, headers={"X-Forwarded-For": "203.0.113.9"})
            with urllib.request.urlopen(forged, timeout=5):
                pass
        upstream.shutdown()
    assert seen[-1] == ["127.0.0.1"]


def test_a_body_that_no_call_takes_is_refused_at_the_door(chat: Chat, tmp_path: Path) -> None:
    with nginx(tmp_path, chat.web().port) as url:
        too_large = urllib.request.Request(f"{url}/api/v1/session", data=b"x" * 300_000, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(too_large, timeout=5)
        with refusal.value as problem:
            assert problem.code == 413
