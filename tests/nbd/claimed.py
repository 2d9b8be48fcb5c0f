"""Drives that a server of the test's own holds, and their bytes over HTTP."""

from dataclasses import dataclass, field
from uuid import uuid4

from drivebay.units import MIB
from live import Answer, Credentials, Server
from nbd.client import Client, Connection


@dataclass
class Claimed:
    """A drive of *user*, claimed for the server *holder*."""

    server: Server
    user: Credentials
    drive: str
    holder: str = field(default_factory=lambda: str(uuid4()))
    uri: str = ""

    def claim(self, text: str = "", *, user: Credentials | None = None) -> "Claimed":
        """Claim it, again or for the first time; *uri* leads to it from now on."""
        answer = self.post("claim", text, user=user)
        assert answer.status == 200, answer
        self.uri = answer.record["nbd"]
        return self

    def release(self) -> Answer:
        answer = self.post("release")
        assert answer.status == 204, answer
        return answer

    def post(self, call: str, text: str = "", *, user: Credentials | None = None) -> Answer:
        path = f"/drives/{self.drive}/{call}/{self.holder}"
        return self.server.api("POST", path, text, user=user or self.user)

    def connect(self) -> Connection:
        """Return a connection whose greeting was not read yet."""
        return Connection(self.uri)

    def open(self, *, structured: bool = True, allocation: bool = False) -> Client:
        """Return a client that is ready for requests."""
        return Client(self.uri).open(structured=structured, allocation=allocation)

    def put(self, content: bytes, offset: int = 0) -> None:
        """Write over HTTP."""
        path = f"/drives/{self.drive}/write/{offset}"
        answer = self.server.api("POST", path, content, user=self.user)
        assert answer.status == 204, answer

    def content(self) -> bytes:
        """Return all bytes, read over HTTP."""
        size = int(self.info()["size"])
        return b"".join(
            self.get(offset, min(4 * MIB, size - offset)) for offset in range(0, size, 4 * MIB)
        )

    def get(self, offset: int, length: int) -> bytes:
        """Return some bytes, read over HTTP."""
        path = f"/drives/{self.drive}/read/{offset}/{length}"
        answer = self.server.api("GET", path, user=self.user)
        assert answer.status == 200, answer
        return answer.body

    def info(self) -> dict[str, str]:
        answer = self.server.api("GET", f"/drives/{self.drive}/info/full", user=self.user)
        assert answer.status == 200, answer
        return answer.record


def claimed(
    server: Server, text: str = "size 1M", *, user: Credentials | None = None, access: str = ""
) -> Claimed:
    """Make a drive, and claim it."""
    owner = user or server.add_user()
    made = Claimed(server, owner, server.create(text, user=owner))
    return made.claim(access)
