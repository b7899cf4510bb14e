"""nginx as a contestant and as an upstream: its configuration."""

from __future__ import annotations

from pathlib import Path

CONFIG = """
daemon off;
worker_processes {processes};
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10;
    types {{ }}
    default_type "text/html; charset=UTF-8";
    server {{
        {server}
    }}
}}
"""


def command(directory: Path, server: list[str], processes: int = 1) -> list[str]:
    """Writes nginx.conf with these lines of its ``server``; gives what starts it."""
    file = directory / "nginx.conf"
    text = CONFIG.format(
        dir=directory, processes=processes, server="\n        ".join(server)
    )
    file.write_text(text)
    log = directory / "nginx.log"
    return ["nginx", "-p", str(directory), "-c", str(file), "-e", str(log)]
