"""LUKS images as qemu makes them, offered over NBD by qemu-nbd and by nbdkit."""

import secrets
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.contest import BenchFailed
from bench.nbd import Export
from bench.processes import Process, run
from bench.stats import Sample

ATTEMPTS = 10


@dataclass(frozen=True)
class Luks:
    """A LUKS image and the file with its passphrase; qemu's defaults: AES-256-XTS, 512 bytes."""

    path: Path
    secret: Path
    size: int

    @classmethod
    def make(cls, path: Path, size: int) -> "Luks":
        """Make an empty one with a passphrase of its own."""
        secret = path.with_suffix(".secret")
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(16))
        return cls(path, secret, size).created()

    def copied(self, path: Path) -> "Luks":
        """Copy it, which takes no time while it is empty: making one takes a second or two."""
        run("cp", "--sparse=always", str(self.path), str(path))
        return Luks(path, self.secret, self.size)

    def created(self) -> "Luks":
        """Make the image; a short key derivation is in qemu's favour, its default takes seconds."""
        words = ["qemu-img", "create", "-q", "-f", "luks", *self.objects]
        words += ["-o", "key-secret=key,iter-time=50", str(self.path), str(self.size)]
        for _ in range(ATTEMPTS - 1):
            # On a busy machine qemu cannot time its own derivation, and says so.
            with suppress(BenchFailed):
                run(*words)
                return self
        run(*words)
        return self

    @property
    def objects(self) -> list[str]:
        """The option that brings the passphrase without showing it."""
        return ["--object", f"secret,id=key,file={self.secret}"]

    @property
    def options(self) -> str:
        """The image, opened through its cipher."""
        return f"driver=luks,key-secret=key,file.driver=file,file.filename={self.path}"

    def fill(self, source: Path) -> "Luks":
        """Put the content of *source* into it."""
        run(
            *("qemu-img", "convert", "-n", "--target-image-opts", *self.objects),
            *("-f", "raw", str(source), self.options),
        )
        return self

    def convert(self, target: "Luks", *flags: str) -> Sample:
        """Copy it into *target*, whose passphrase is the same; MB/s."""
        before = time.monotonic()
        run(
            *("qemu-img", "convert", "-n", *flags, *self.objects),
            *("--image-opts", "--target-image-opts", self.options, target.options),
        )
        return Sample(self.size / (time.monotonic() - before) / 1e6)

    def plain(self, path: Path) -> Path:
        """Write what is in it to *path*."""
        run(
            *("qemu-img", "convert", *self.objects, "--image-opts", "-O", "raw"),
            *(self.options, str(path)),
        )
        return path


class NbdServer(AbstractContextManager["NbdServer"]):
    """A LUKS image offered decrypted on a socket."""

    def __init__(self, folder: Path, luks: Luks, words: list[str]) -> None:
        folder.mkdir()
        socket = folder / "socket"
        filled = [word.format(socket=socket, luks=luks) for word in words]
        self._process = Process(filled, folder / "log").wait_for_path(socket)
        self.export = Export(f"nbd+unix:///?socket={socket}", luks.size, self._process.pid)

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.__exit__()


QEMU_NBD = [
    *("qemu-nbd", "--persistent", "--shared=8", "--socket={socket}"),
    *("--object", "secret,id=key,file={luks.secret}", "--image-opts", "{luks.options}"),
]
NBDKIT = [
    *("nbdkit", "--foreground", "--unix={socket}", "--filter=luks"),
    *("file", "{luks.path}", "passphrase=+{luks.secret}"),
]
