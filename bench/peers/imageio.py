"""ovirt-imageio with a plain file behind it, without TLS."""

import json
import uuid
from contextlib import AbstractContextManager
from pathlib import Path

from bench import content
from bench.load import Job
from bench.processes import Process, free_port

CONFIG = """\
[daemon]
drop_privileges = false
systemd_enable = false
run_dir = {folder}
[tls]
enable = false
[remote]
host = 127.0.0.1
port = {port}
[local]
enable = false
[control]
enable = false
[handlers]
keys = stderr
[logger_root]
handlers = stderr
"""
TICKET_S = 24 * 3600

READ = "GET /images/{ticket} HTTP/1.1\r\nHost: bench\r\nRange: bytes={{offset}}-{{last}}\r\n\r\n"
WRITE = (
    "PUT /images/{ticket} HTTP/1.1\r\nHost: bench\r\n"
    "Content-Range: bytes {{offset}}-{{last}}/*\r\nContent-Length: {{sent}}\r\n\r\n"
)


class Imageio(AbstractContextManager["Imageio"]):
    """A running ovirt-imageio with a ticket for one file of *size* bytes."""

    def __init__(self, folder: Path, image: Path) -> None:
        (folder / "conf.d").mkdir(parents=True)
        self.image = image
        self._size = image.stat().st_size
        self._ticket = str(uuid.uuid4())
        self._port = free_port()
        config = CONFIG.format(folder=folder, port=self._port)
        (folder / "conf.d" / "50-bench.conf").write_text(config)
        ticket = folder / "ticket"
        ticket.touch(mode=0o600)
        ticket.write_text(json.dumps(self._facts))
        words = ["ovirt-imageio", "--conf-dir", str(folder), "--ticket", str(ticket)]
        self._process = Process(words, folder / "log").wait_for_port(self._port)

    @property
    def _facts(self) -> dict[str, object]:
        return {
            "uuid": self._ticket,
            "size": self._size,
            "url": f"file://{self.image}",
            "ops": ["read", "write"],
            "timeout": TICKET_S,
        }

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.__exit__()

    def reads(self) -> Job:
        """Return the job that reads the image in pieces of 4 MiB."""
        ranges = content.pieces(self._size)
        head = READ.format(ticket=self._ticket)
        return Job(self._port, head, 206, ranges, is_stamped=True)

    def writes(self, source: Path) -> Job:
        """Return the job that writes *source* onto the image."""
        ranges = content.pieces(self._size)
        head = WRITE.format(ticket=self._ticket)
        return Job(self._port, head, 200, ranges, body_path=str(source))
