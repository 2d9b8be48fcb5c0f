"""Operators at work beside the service: users come and get new keys, until all is killed."""

import os
import signal
import subprocess
import sys
import threading
from queue import SimpleQueue

from live import Server

# For each line on its stdin it forks a process that works on the catalog until it is killed.
_PROGRAM = """
import os, random, sys, time
from pathlib import Path
from drivebay import folder
from drivebay.catalog import users
from drivebay.service import accounts

def say(*words):
    # One call, so that a kill leaves whole lines.
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

def work(data):
    say("begun", os.getpid())
    catalog = folder.catalog_of(data)
    known = []
    while True:
        time.sleep(0.02)  # Whoever writes without a pause keeps the others out.
        if len(known) < 3:
            say("adding")
            with catalog.write() as tx:
                user, key = accounts.add(tx, "operated", drives=None, size_bytes=None)
            known.append(user)
            say("added", user.uuid, key)
            continue
        user = random.choice(known)
        say("rotating", user.uuid)
        with catalog.write() as tx:
            key = accounts.rotate_key(tx, user)
        say("rotated", user.uuid, key)
        for enabled in (False, True):
            say("switching", user.uuid)
            with catalog.write() as tx:
                users.change(tx, user.uuid, enabled=enabled)
            say("switched", user.uuid, int(enabled))

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        work(Path(line.strip()))
    os.waitpid(pid, 0)
    say("ended")
"""

_CHECKED_MAX = 12
SAID_WITHIN_S = 60.0


class Operators:
    """Processes that add, change and switch users, and what they were told is done."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=server.env,
        )
        self._said: SimpleQueue[list[str]] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self._pid = 0
        self._keys: dict[str, str] = {}
        self._old_keys: dict[str, str] = {}
        self._enabled: dict[str, bool] = {}
        self.done = 0

    def begin(self) -> None:
        """Let one operator begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._server.data}\n")
        self._process.stdin.flush()
        word, pid = self._line()
        assert word == "begun"
        self._pid = int(pid)

    def kill(self) -> None:
        """Kill the operator at once, and take in what it was told."""
        os.kill(self._pid, signal.SIGKILL)
        self._take_in()

    def _listen(self) -> None:
        """Take in what is said as it is said: a full pipe would stop the operator."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.split())

    def _line(self) -> list[str]:
        return self._said.get(timeout=SAID_WITHIN_S)

    def _take_in(self) -> None:
        doing: list[str] = []
        while (line := self._line()) != ["ended"]:
            match line:
                case ["added", user, key]:
                    self._keys[user] = key
                    self._enabled[user] = True
                case ["rotated", user, key]:
                    self._old_keys[user] = self._keys[user]
                    self._keys[user] = key
                case ["switched", user, enabled]:
                    self._enabled[user] = enabled == "1"
                case _:
                    doing = line
                    continue
            doing = []
            self.done += 1
        if len(doing) > 1:
            # Whether it has its new key, or is enabled, nobody knows.
            self._forget(doing[1])

    def _forget(self, user: str) -> None:
        for known in (self._keys, self._old_keys, self._enabled):
            known.pop(user, None)

    def verify(self) -> None:
        """Hold the service to what the operators were told."""
        for user in list(self._keys)[:-_CHECKED_MAX]:
            self._forget(user)
        for user, key in self._keys.items():
            expected = 200 if self._enabled[user] else 401
            assert self._status(user, key) == expected, f"user {user} is not as it was told"
            if user in self._old_keys:
                assert self._status(user, self._old_keys[user]) == 401, "an old key still works"

    def _status(self, user: str, key: str) -> int:
        return self._server.api("GET", "/drives/list", user=(user, key)).status

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
