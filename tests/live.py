"""A real service for tests: started as its own process tree, spoken to over HTTP and raw sockets."""

import base64
import http.client
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from drivebay import folder
from drivebay.service import accounts

READY_WITHIN_S = 60
STOPPED_WITHIN_S = 60
Credentials = tuple[str, str]

_MAIN = "import sys; from drivebay.cli.main import main; sys.exit(main())"
COMMAND = (sys.executable, "-c", _MAIN)
"""The `drivebay` of this interpreter, installed or not."""

# PR_SET_PDEATHSIG, <linux/prctl.h>: a test run that is killed must leave no service behind.
_DYING_WITH_ITS_PARENT = (
    sys.executable,
    "-c",
    f"import ctypes; ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)}); {_MAIN}",
)


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def record(self) -> dict[str, str]:
        """The one record of a text/plain body."""
        (record,) = self.records
        return record

    @property
    def records(self) -> list[dict[str, str]]:
        """The records of a text/plain body, which empty lines part."""
        parts = [part for part in self.text.split("\n\n") if part.strip()]
        return [
            dict(line.partition(" ")[::2] for line in part.strip("\n").split("\n"))
            for part in parts
        ]


@dataclass
class Server:
    """`drivebay serve` on a folder below *base*, with a first user's credentials."""

    base: Path
    workers: int = 2
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    port: int = 0
    host: str = "127.0.0.1"

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def log(self) -> Path:
        return self.base / "log"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def env(self) -> dict[str, str]:
        """The environment of the service and of the command line that talks to it."""
        return {
            **{key: value for key, value in os.environ.items() if "DRIVEBAY" not in key},
            "XDG_CONFIG_HOME": str(self.base / "config"),
            "XDG_DATA_HOME": str(self.base / "share"),
            **self.environment,
        }

    @property
    def command(self) -> list[str]:
        return [
            *_DYING_WITH_ITS_PARENT,
            *("serve", "--data", str(self.data), "--http", f"{self.host}:0"),
            *("--workers", str(self.workers), *self.options),
        ]

    def start(self) -> "Server":
        """Start and wait for readiness; a later start keeps the folder and takes another port."""
        self.base.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.env,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], READY_WITHIN_S)
        line = self.process.stdout.readline() if ready else ""
        assert line.startswith("ready http://"), f"no ready line: {line!r}\n{self.log.read_text()}"
        self.port = int(line.rpartition(":")[2])
        return self

    def stop(self) -> int:
        """End it as an operator would and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill every process of it at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit status."""
        assert self.process is not None
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def close(self) -> None:
        if self.process is not None:
            self.kill()

    def pid_of(self, name: str) -> int:
        """Return the process *name* (`http-0`, `jobs`) of the running service."""
        shown = f"drivebay-{name}"[:15]
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
        (pid,) = (pid for pid, found in names.items() if found == shown)
        return int(pid)

    @contextmanager
    def stopped(self, name: str) -> Iterator[int]:
        """Let the process *name* do nothing meanwhile; yield its pid.

        It holds no lock on the catalog, so all the others go on.  What else it was at stays so: a
        request half answered, a range held.
        """
        pid = self.pid_of(name)
        _stop(pid, self.data / "catalog.sqlite")
        try:
            yield pid
        finally:
            with suppress(ProcessLookupError):  # It may have been killed meanwhile.
                os.kill(pid, signal.SIGCONT)

    @property
    def first(self) -> Credentials:
        """The first user, as its start-up stored it."""
        lines = self.log.read_text().splitlines()
        line = next(line for line in lines if "first user made" in line)
        user, key = line.rsplit(" ", 1)[1].split(":")
        return user, key

    def add_user(
        self, name: str = "", *, drives: int | None = None, size_bytes: int | None = None
    ) -> Credentials:
        """Make one more user, beside the running service."""
        catalog = folder.catalog_of(self.data)
        try:
            with catalog.write() as tx:
                user, key = accounts.add(tx, name, drives=drives, size_bytes=size_bytes)
        finally:
            catalog.close()
        return str(user.uuid), key

    def run(self, *words: str) -> str:
        """Run an operator's command on the data folder and return what it prints."""
        ended = subprocess.run(
            [*COMMAND, *words, "--data", str(self.data)],
            capture_output=True,
            text=True,
            env=self.env,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended
        return ended.stdout

    def api(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        user: Credentials | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own, as the first user unless told otherwise."""
        data = body.encode() if isinstance(body, str) else body
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        sent = {"Authorization": authorization(user or self.first), **(headers or {})}
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        return socket.create_connection((self.host, self.port), timeout=60)

    def raw(self, data: bytes) -> bytes:
        """Send *data* on a raw connection, and return all that comes back until it is closed."""
        with self.connect() as connection:
            connection.sendall(data)
            return drained(connection)

    def create(self, text: str = "size 1M", *, user: Credentials | None = None) -> str:
        """Make a drive and return its uuid."""
        answer = self.api("POST", "/drives/create", text, user=user)
        assert answer.status == 200, answer
        return answer.record["drive"]


def _stop(pid: int, catalog: Path) -> None:
    """Stop a process at a moment at which it holds no lock on *catalog*."""
    deadline = time.monotonic() + STOPPED_WITHIN_S
    os.kill(pid, signal.SIGSTOP)
    while not (_stands(pid) and _is_free(catalog)):
        assert time.monotonic() < deadline, "the process cannot be stopped without harm"
        # Whatever it holds it is about to let go.
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(pid, signal.SIGSTOP)


def _stands(pid: int) -> bool:
    """Wait until no thread of the process runs; False where one does not come to that for long."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        # A thread may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
            # proc_pid_stat(5): the state stands behind the name, which is in parentheses.
            if all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats):
                return True
        time.sleep(0.001)
    return False


def _is_free(catalog: Path) -> bool:
    """Whether nobody holds *catalog* for long: a reader would keep the others from committing."""
    uri = f"{catalog.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)) as database:
        try:
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        database.execute("ROLLBACK")
    return True


def authorization(user: Credentials) -> str:
    """Return the header's value for HTTP Basic."""
    return "Basic " + base64.b64encode(":".join(user).encode()).decode()


def drained(connection: socket.socket) -> bytes:
    """Return everything that arrives until the other side closes."""
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)
