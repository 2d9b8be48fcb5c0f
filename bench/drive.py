"""One drive of a running drivebay, and the requests that read, write and image it."""

import http.client
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench import content
from bench.contest import BenchFailed
from bench.load import Job
from bench.nbd import Export

LINE = (
    "{method} /drives/{drive}/{call} HTTP/1.1\r\nHost: bench\r\nAuthorization: {authorization}\r\n"
)
BODY = "Content-Type: application/octet-stream\r\nContent-Length: {sent}\r\n"
POLL_S = 0.005
IMAGED_WITHIN_S = 600


@dataclass(frozen=True)
class Api:
    """Where a service listens, its process tree's root, and its first user's credentials."""

    port: int
    pid: int
    authorization: str

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection for small calls."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def call(
        self,
        method: str,
        path: str,
        body: str = "",
        *,
        connection: http.client.HTTPConnection | None = None,
    ) -> str:
        """Make one small call, on a connection of its own where none is given.

        Raises:
            BenchFailed: the answer is an error.
        """
        used = connection or self.connect()
        try:
            used.request(method, path, body, {"Authorization": self.authorization})
            answer = used.getresponse()
            text = answer.read().decode()
        finally:
            if connection is None:
                used.close()
        if answer.status not in {200, 204}:
            raise BenchFailed(f"{method} {path}: {answer.status} {text.strip()}")
        return text


@dataclass(frozen=True)
class Drive:
    """One drive."""

    api: Api
    uuid: str
    size: int

    def head(self, method: str, call: str, more: str = "") -> str:
        """Return a request's head, up to the empty line and with it."""
        line = LINE.format(
            method=method, drive=self.uuid, call=call, authorization=self.api.authorization
        )
        return line + more + "\r\n"

    def reads(self, *, is_stamped: bool = False) -> Job:
        """Return the job that reads it in pieces of 4 MiB."""
        head = self.head("GET", "read/{offset}/{length}")
        return Job(self.api.port, head, 200, content.pieces(self.size), is_stamped=is_stamped)

    def writes(self, source: Path) -> Job:
        """Return the job that writes the file *source* onto it, each piece where it stands."""
        head = self.head("POST", "write/{offset}", BODY)
        ranges = content.pieces(source.stat().st_size)
        return Job(self.api.port, head, 204, ranges, body_path=str(source))

    def deflated_writes(self, deflated: content.Deflated) -> Job:
        """Return the job that writes pieces that are gzip streams."""
        head = self.head("POST", "write/{offset}", BODY + "Content-Encoding: gzip\r\n")
        ranges = content.pieces(deflated.plain.stat().st_size)
        path = str(deflated.path)
        return Job(self.api.port, head, 204, ranges, body_path=path, spans=deflated.spans)

    def parts(self, size: int | None = None) -> Iterable[bytes]:
        """Return all of it, or its first *size* bytes, in pieces of 4 MiB read over HTTP."""
        paths = [
            f"/drives/{self.uuid}/read/{offset}/{length}"
            for offset, length in content.pieces(self.size if size is None else size)
        ]
        return content.http_parts(self.api.port, {"Authorization": self.api.authorization}, paths)

    def digest(self, size: int | None = None) -> str:
        """Return the SHA-256 of all of it, or of its first *size* bytes, read over HTTP."""
        return content.digest(self.parts(size))

    def claim(self) -> Export:
        """Claim it for a server, and return how that uses it."""
        text = self.api.call("POST", f"/drives/{self.uuid}/claim/{uuid4()}")
        found = re.search(r"^nbd (\S+)$", text, re.MULTILINE)
        assert found, text
        return Export(found[1], self.size, self.api.pid)

    def image(self, source: "Drive", conversion: str = "") -> float:
        """Image *source* onto it, and return the seconds until it is done, as a caller sees it.

        Raises:
            BenchFailed: imaging failed.
        """
        connection = self.api.connect()
        path = f"/drives/{self.uuid}/image/{source.uuid}{conversion and '/'}{conversion}"
        info = f"/drives/{self.uuid}/info"
        try:
            before = time.monotonic()
            self.api.call("POST", path, connection=connection)
            while "\nimaging " in (record := self.api.call("GET", info, connection=connection)):
                if "\nimaging failed" in record or time.monotonic() > before + IMAGED_WITHIN_S:
                    raise BenchFailed(f"imaging did not end well: {record}")
                time.sleep(POLL_S)
            return time.monotonic() - before
        finally:
            connection.close()

    def destroy(self) -> None:
        """Destroy it."""
        self.api.call("POST", f"/drives/{self.uuid}/destroy")
