"""nginx with plain files: reads by range, writes by DAV PUT, one file a piece."""

import getpass
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import content
from bench.load import Job
from bench.processes import Process, free_port

# What Debian's nginx.conf says about the way of bytes, in a tree of the run's own.  In nginx's
# favour: no access log, and a connection is not closed after a thousand requests.
CONFIG = """\
daemon off;
{user}worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile {sendfile};
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log off;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {bodies};
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location /put/ {{ dav_methods PUT; }}
    }}
}}
"""

READ = "GET /{name} HTTP/1.1\r\nHost: bench\r\nRange: bytes={{offset}}-{{last}}\r\n\r\n"
WRITE = "PUT /put/{offset} HTTP/1.1\r\nHost: bench\r\nContent-Length: {sent}\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one nginx is set up; *bodies* is where it collects the bodies of requests."""

    workers: int
    sendfile: bool
    bodies: Path


class Nginx(AbstractContextManager["Nginx"]):
    """A running nginx that serves the folder *root*."""

    def __init__(self, folder: Path, root: Path, kind: Kind) -> None:
        folder.mkdir()
        kind.bodies.mkdir(exist_ok=True)
        (root / "put").mkdir(exist_ok=True)
        self._root = root
        self.port = free_port()
        text = CONFIG.format(
            # As root nginx would change to a user who may not enter the run's folders.
            user=f"user {getpass.getuser()};\n" if os.geteuid() == 0 else "",
            workers=kind.workers,
            folder=folder,
            bodies=kind.bodies,
            sendfile="on" if kind.sendfile else "off",
            port=self.port,
            root=root,
        )
        config = folder / "nginx.conf"
        config.write_text(text)
        words = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
        self._process = Process(words, folder / "log").wait_for_port(self.port)

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.__exit__()

    def reads(self, name: str, *, length: int = content.PIECE, is_stamped: bool = False) -> Job:
        """Return the job that reads the file *name* in pieces."""
        ranges = content.pieces((self._root / name).stat().st_size, length)
        return Job(self.port, READ.format(name=name), 206, ranges, is_stamped=is_stamped)

    def writes(self, source: Path) -> Job:
        """Return the job that puts the pieces of *source*, each as a file; put them once first."""
        ranges = content.pieces(source.stat().st_size)
        return Job(self.port, WRITE, 204, ranges, body_path=str(source))

    def put_digest(self) -> str:
        """Return the SHA-256 of the files that were put, one after the other."""
        paths = sorted((self._root / "put").iterdir(), key=lambda path: int(path.name))
        return content.digest(path.read_bytes() for path in paths)
