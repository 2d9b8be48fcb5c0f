"""The service that is killed: in several ways, and looked through afterwards."""

import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

from live import Server
from system.waiting import wait_until

# Many small steps instead of a few large ones: else only copies that take longer than half a
# second would ever go on where they were.
_EAGER = """
from drivebay.service import imaging
from drivebay.storage import copy

imaging.RECORD_EVERY_S = 0.005
copy.PIECE = 256 * 1024
"""

RESTART_WITHIN_S = 28.0
"""A guard against waiting for somebody who is dead; SQLite alone would wait for 30 s."""

_FILES = {"lock", "catalog.sqlite", "catalog.sqlite-journal", "nbd.sock"}
_FOLDERS = {"counters", "sessions", "stores"}


class Victim(Server):
    """`drivebay serve`, recording the progress of imaging often."""

    @property
    def command(self) -> list[str]:
        python, flag, program, *words = super().command
        return [python, flag, _EAGER + program, *words]

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def kill_one(self, choice: random.Random) -> None:
        """Kill one HTTP worker or the job worker; the others go on."""
        with suppress(ProcessLookupError, IndexError):
            os.kill(choice.choice(self.children()), signal.SIGKILL)

    def kill_parent(self) -> None:
        """Kill the parent alone; its children end what they are at and follow."""
        pids = self.children()
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    def kill_while_starting(self, after_s: float) -> None:
        """Start and kill everything after so many seconds, ready or not."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                self.command,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self) -> None:
        began = time.monotonic()
        self.start()
        assert time.monotonic() - began < RESTART_WITHIN_S, "the restart took too long"
        self.check_folder()

    def check_folder(self) -> None:
        """See that catalog and volumes agree, and that nothing is left over."""
        uri = f"file:{self.data / 'catalog.sqlite'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = database.execute("SELECT uuid, size, cipher, state FROM drives").fetchall()
        assert {state for *_, state in rows} <= {"ready"}, "something is still half done"
        expected = {
            f"{uuid}.volume": size if cipher == "none" else -(-size // 4096) * 4096
            for uuid, size, cipher, _ in rows
        }
        store = self.data / "stores" / "default"
        found = {file.name: file.stat().st_size for file in store.glob("[!.]*")}
        assert found == expected, "catalog and volumes differ"
        assert [file.name for file in store.glob(".*")] == [".drivebay-store"]
        strange = {file.name for file in self.data.iterdir()} - _FILES - _FOLDERS
        assert not strange, f"{strange} is left over"
