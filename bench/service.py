"""drivebay itself, started by its own command line."""

import base64
import os
import re
from contextlib import AbstractContextManager
from pathlib import Path

from bench.contest import BenchFailed
from bench.drive import Api, Drive
from bench.loads import transfer
from bench.processes import Process, run


class Service(AbstractContextManager["Service"]):
    """`drivebay serve` on a folder of its own, with its first user; all settings are defaults.

    A later start on the same *folder* finds the drives that are there.
    """

    def __init__(self, folder: Path, workers: int | None) -> None:
        folder.mkdir(exist_ok=True)
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

    @property
    def api(self) -> Api:
        """A way to its calls."""
        return Api(self.port, self.pid, self.authorization)

    def create(self, size: int, *, is_encrypted: bool = True) -> Drive:
        """Make a drive of zeros."""
        cipher = "aes-xts-plain" if is_encrypted else "none"
        text = self.api.call("POST", "/drives/create", f"size {size}\nencryption:cipher {cipher}\n")
        found = re.search(r"^drive (\S+)$", text, re.MULTILINE)
        assert found, text
        return Drive(self.api, found[1], size)

    def filled(self, source: Path, *, is_encrypted: bool = True) -> Drive:
        """Make a drive that holds what the file *source* holds."""
        drive = self.create(source.stat().st_size, is_encrypted=is_encrypted)
        transfer(drive.writes(source), 4, None)
        return drive
