"""drivebay itself, started by its own command line."""

import base64
import http.client
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import content
from bench.contest import BenchFailed
from bench.load import Job
from bench.loads import transfer
from bench.processes import Process, run

READ = "GET /drives/{drive}/read/{{offset}}/{{length}} HTTP/1.1\r\nHost: bench\r\n{auth}\r\n"
WRITE = (
    "POST /drives/{drive}/write/{{offset}} HTTP/1.1\r\nHost: bench\r\n{auth}{more}"
    "Content-Type: application/octet-stream\r\nContent-Length: {{sent}}\r\n\r\n"
)


class Service(AbstractContextManager["Service"]):
    """`drivebay serve` on a folder of its own, with its first user; all settings are defaults."""

    def __init__(self, folder: Path, workers: int | None) -> None:
        folder.mkdir()
        self.folder = folder
        self.workers = workers
        self._env = {
            **{name: value for name, value in os.environ.items() if "DRIVEBAY" not in name},
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "share"),
        }
        words = ["drivebay", "serve", "--data", str(folder / "data"), "--http", "127.0.0.1:0"]
        # One worker where one nginx worker is the peer; else what a user gets who says nothing.
        words += ["--workers", str(workers)] if workers else []
        self._process = Process(words, folder / "log", self._env)
        ready = self._process.line()
        if not ready.startswith("ready http://"):
            self.__exit__()
            raise BenchFailed(f"drivebay did not start: {(folder / 'log').read_text()[-1000:]}")
        self.port = int(ready.rpartition(":")[2])
        self.authorization = self._authorization()

    def _authorization(self) -> str:
        shown = run("drivebay", "profile", "show", "--curl", env=self._env).stdout
        found = re.search(r'user\s*=\s*"([^"]+)"', shown)
        assert found, "the first start stores a profile"
        return "Basic " + base64.b64encode(found[1].encode()).decode()

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.__exit__()

    def call(self, method: str, path: str, body: str = "") -> str:
        """Make one small call on a connection of its own.

        Raises:
            BenchFailed: the answer is an error.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, {"Authorization": self.authorization})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status not in {200, 204}:
            raise BenchFailed(f"{method} {path}: {answer.status} {text.strip()}")
        return text

    def create(self, size: int, *, is_encrypted: bool = True) -> "Drive":
        """Make a drive of zeros."""
        cipher = "aes-xts-plain" if is_encrypted else "none"
        text = self.call("POST", "/drives/create", f"size {size}\nencryption:cipher {cipher}\n")
        found = re.search(r"^drive (\S+)$", text, re.MULTILINE)
        assert found, text
        return Drive(self, found[1], size)

    def filled(self, source: Path, *, is_encrypted: bool = True) -> "Drive":
        """Make a drive that holds what the file *source* holds."""
        drive = self.create(source.stat().st_size, is_encrypted=is_encrypted)
        transfer(drive.writes(source), 4, None)
        return drive


@dataclass(frozen=True)
class Drive:
    """One drive of a service, and the requests that read and write it."""

    service: Service
    uuid: str
    size: int

    @property
    def _auth(self) -> str:
        return f"Authorization: {self.service.authorization}\r\n"

    def reads(self, *, is_stamped: bool = False) -> Job:
        """Return the job that reads it in pieces of 4 MiB."""
        head = READ.format(drive=self.uuid, auth=self._auth)
        ranges = content.pieces(self.size)
        return Job(self.service.port, head, 200, ranges, is_stamped=is_stamped)

    def writes(self, source: Path) -> Job:
        """Return the job that writes the file *source* onto it, each piece where it stands."""
        head = WRITE.format(drive=self.uuid, auth=self._auth, more="")
        ranges = content.pieces(self.size)
        return Job(self.service.port, head, 204, ranges, body_path=str(source))

    def digest(self) -> str:
        """Return the SHA-256 of all of it, read through the service."""
        paths = [
            f"/drives/{self.uuid}/read/{offset}/{length}"
            for offset, length in content.pieces(self.size)
        ]
        head = {"Authorization": self.service.authorization}
        return content.digest(content.http_parts(self.service.port, head, paths))

    def destroy(self) -> None:
        """Destroy it."""
        self.service.call("POST", f"/drives/{self.uuid}/destroy")
