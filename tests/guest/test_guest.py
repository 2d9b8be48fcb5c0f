"""A virtual machine lives on claimed drives: Debian's kernel, in QEMU, over NBD."""

import hashlib
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from cli.runner import Cli
from drivebay.units import MIB
from guest.image import PARTITION, Image, run
from guest.machine import drive, reconnecting

# A file of each size, of bytes that nobody can guess, and what they must be, in SUMS on the other
# drive.  What the guest says was written has been flushed.
SUMS = "/sums"
FILL = (
    "set -o pipefail; for i in $(seq 24); do head -c $((i * 131071)) /dev/urandom | tee /mnt/$i | sha256sum |"
    f" sed s/-/$i/ >>{SUMS} || exit; sync; echo wrote $i; done"
)
CHECK = f"cd /mnt && sha256sum -c {SUMS} >/tmp/verdict && grep -c OK /tmp/verdict"
FILES = 24

SLACK = 4 * MIB
"""What a mounted file system writes beside files: its journal and its tables."""


@dataclass
class Held:
    """A drive, and the server that claims it."""

    cli: Cli
    drive: str
    server: str
    uri: str = ""

    def call(self, method: str, path: str, body: bytes | str = b"") -> int:
        """Return the status of a call on the drive."""
        return self.cli.server.api(
            method, f"/drives/{self.drive}{path}", body, user=self.cli.user
        ).status

    def claim(self) -> None:
        answer = self.cli.server.api(
            "POST", f"/drives/{self.drive}/claim/{self.server}", user=self.cli.user
        )
        assert answer.status == 200, answer
        self.uri = answer.record["nbd"]

    def release(self) -> None:
        assert self.call("POST", f"/release/{self.server}") == 204
        assert "claimed" not in self.record()

    def record(self) -> dict[str, str]:
        return self.cli.server.api("GET", f"/drives/{self.drive}/info", user=self.cli.user).record

    @property
    def volume(self) -> Path:
        return self.cli.server.data / "stores" / "default" / f"{self.drive}.volume"

    def download(self) -> Path:
        """Return a file of all that is on it."""
        file = self.cli.folder / f"{self.drive}.img"
        self.cli.ok("download", self.drive, str(file))
        return file


@pytest.fixture
def boot(cli, guest_image) -> Held:
    """A claimed drive that holds the image."""
    return uploaded(cli, guest_image)


@pytest.fixture
def data(cli) -> Held:
    """A claimed, encrypted drive without content."""
    return empty(cli)


def uploaded(cli: Cli, image: Image) -> Held:
    uuid = cli.ok("upload", str(image.file), "--name", "boot").text.strip()
    held = Held(cli, uuid, str(uuid4()))
    held.claim()
    return held


def empty(cli: Cli) -> Held:
    uuid = cli.create("data", "96M", "encryption:cipher aes-xts-plain")
    held = Held(cli, uuid, str(uuid4()))
    held.claim()
    return held


def allocated(file: Path) -> int:
    return file.stat().st_blocks * 512


def file_in(image: Path, name: str, offset: int = 0) -> bytes:
    """Return the file *name* in the file system at *offset* of an image."""
    return run("debugfs", "-R", f"cat {name}", f"{image}?offset={offset}")


def check_file_system(image: Path, offset: int = 0) -> None:
    run("e2fsck", "-f", "-n", f"{image}?offset={offset}")


def check_files(image: Path, sums: bytes, folder: Path) -> None:
    """Compare the files of a file system with the *sums* of them, on this machine."""
    folder.mkdir()
    run("debugfs", "-R", f"rdump / {folder}", image)
    expected = dict(line.split()[::-1] for line in sums.decode().splitlines())
    assert len(expected) == FILES
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in expected}
    assert found == expected
    shutil.rmtree(folder)


def test_a_virtual_machine_boots_from_a_drive(boot, guest_image, turn_on):
    before = boot.record()

    guest = turn_on(drive(boot.uri))
    token = guest.booted()
    noise = guest.run("head -c 3000000 /dev/urandom | tee /noise | sha256sum").split()[0]
    said = guest.off()
    boot.release()

    after = boot.record()
    assert token == guest_image.token
    assert f"GRUB starts {token}" in said
    assert not re.search("error", said, re.IGNORECASE), said
    assert int(after["read:bytes"]) - int(before["read:bytes"]) > guest_image.kernel_bytes
    assert int(after["write:bytes"]) - int(before["write:bytes"]) > 3_000_000
    back = boot.download()
    assert hashlib.sha256(file_in(back, "/noise", PARTITION)).hexdigest() == noise
    check_file_system(back, PARTITION)
    content = allocated(guest_image.file)
    assert allocated(boot.volume) < content + SLACK
    assert allocated(back) < content + SLACK


def test_ext4_is_made_filled_and_checked_inside_the_guest(boot, data, turn_on, tmp_path):
    secret = os.urandom(32).hex()

    guest = turn_on(drive(boot.uri), drive(data.uri))
    guest.booted()
    guest.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt")
    guest.run(FILL)
    guest.run(f"echo {secret} >/mnt/secret")
    guest.run("mkdir /mnt/small; for i in $(seq 300); do echo $i >/mnt/small/$i || exit; done")
    guest.run("umount /mnt && e2fsck -f -n /dev/vdb")
    guest.run("mount -o ro /dev/vdb /mnt")
    verdict = guest.run(CHECK)
    small = guest.run("cat /mnt/small/* | sort -n | sha256sum; seq 300 | sha256sum")
    guest.run("umount /mnt && cp /tmp/verdict /verdict")
    said = guest.off()
    boot.release()
    data.release()

    assert verdict == str(FILES)
    assert len(set(small.splitlines())) == 1
    assert not re.search("error", said, re.IGNORECASE), said
    system, filled = boot.download(), data.download()
    assert file_in(system, "/verdict", PARTITION).count(b": OK\n") == FILES
    check_file_system(system, PARTITION)
    check_file_system(filled)
    check_files(filled, file_in(system, SUMS, PARTITION), tmp_path / "files")
    assert secret.encode() in filled.read_bytes()
    assert secret.encode() not in data.volume.read_bytes()
    files = sum(i * 131071 for i in range(1, FILES + 1))
    assert files < allocated(data.volume) < files + 2 * SLACK


def test_the_line_that_attach_prints_is_what_qemu_takes(cli, guest_image, turn_on):
    cli.ok("upload", str(guest_image.file), "--name", "boot")
    cli.create("data", "32M", "encryption:cipher aes-xts-plain")
    lines = [cli.ok("attach", "--qemu", name).text for name in ("boot", "data")]

    guest = turn_on(*map(shlex.split, lines))
    token = guest.booted()
    guest.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo told >/mnt/note; umount /mnt")
    guest.off()
    for name in ("boot", "data"):
        cli.ok("detach", name)
    cli.ok("download", "data", "data.img")

    assert token == guest_image.token
    assert file_in(cli.folder / "data.img", "/note") == b"told\n"
    assert "claimed" not in cli.info("data")


def test_a_drive_shrinks_when_the_guest_trims_it(boot, data, turn_on):
    guest = turn_on(drive(boot.uri), drive(data.uri))
    guest.booted()
    guest.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt")
    guest.run("head -c 33554432 /dev/urandom >/mnt/large; echo stays >/mnt/small; sync")
    full = allocated(data.volume)
    guest.run("rm /mnt/large && sync && fstrim /mnt && umount /mnt && e2fsck -f -n /dev/vdb")
    trimmed = allocated(data.volume)
    guest.off()
    boot.release()
    data.release()

    assert full > 32 * MIB
    assert trimmed < 2 * SLACK
    back = data.download()
    check_file_system(back)
    assert file_in(back, "/small") == b"stays\n"


def test_http_leaves_an_exclusive_drive_alone_while_a_guest_runs(boot, data, turn_on):
    other = uuid4()
    guest = turn_on(drive(boot.uri), drive(data.uri))
    guest.booted()
    guest.run("mkfs.ext4 -q /dev/vdb")

    refused = {
        path: data.call("POST", path, body)
        for path, body in [
            ("/write", b"no"),
            ("/set", "size 128M"),
            (f"/image/{boot.drive}", ""),
            (f"/claim/{other}", ""),
            ("/destroy", ""),
        ]
    }
    info, read = data.call("GET", "/info"), data.call("GET", "/read/0/4M")
    claimed = [held.record()["claimed"] for held in (boot, data)]
    imaged = boot.call("POST", f"/image/{data.drive}")
    verdict = guest.run("e2fsck -f -n /dev/vdb && blockdev --getsize64 /dev/vdb")
    guest.off()
    boot.release()
    data.release()

    assert refused == dict.fromkeys(refused, 409)
    assert (info, read) == (200, 200)
    assert claimed == [boot.server, data.server]
    assert imaged == 409
    assert verdict.endswith(str(96 * MIB))
    assert data.call("POST", "/write", b"yes") == 204
    assert data.call("POST", "/set", "size 128M") == 200
    assert data.call("POST", "/destroy") == 204


def test_a_guest_outlasts_the_service(make_server, guest_image, turn_on, tmp_path):
    """The service is killed three times while the guest writes, and started again."""
    server = make_server()
    (tmp_path / "cli").mkdir()
    cli = Cli(server, server.first, tmp_path / "cli")
    boot, data = uploaded(cli, guest_image), empty(cli)
    guest = turn_on(reconnecting(boot.uri, "boot"), reconnecting(data.uri, "data"))
    guest.booted()
    guest.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt")

    guest.begin(FILL)
    for written in (2, 8, 14):
        guest.wait_for(f"^wrote {written}$")
        server.kill()
        assert guest.is_on()
        server.start()
    guest.end()
    guest.run("umount /mnt && e2fsck -f -n /dev/vdb && mount -o ro /dev/vdb /mnt")
    verdict = guest.run(CHECK)
    guest.run("umount /mnt")
    said = guest.off()
    boot.release()
    data.release()

    assert verdict == str(FILES)
    assert not re.search("error", said, re.IGNORECASE), said
    system, filled = boot.download(), data.download()
    check_file_system(system, PARTITION)
    check_file_system(filled)
    check_files(filled, file_in(system, SUMS, PARTITION), tmp_path / "files")


def test_what_a_guest_has_synced_is_there_after_it_was_switched_off(boot, data, turn_on):
    """Its next machine gets the drives by new claims, and finds what its own journal holds."""
    guest = turn_on(drive(boot.uri), drive(data.uri))
    guest.booted()
    guest.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt")
    guest.begin(FILL)
    guest.wait_for("^wrote 9$")
    guest.close()
    for held in (boot, data):
        held.release()
        held.server = str(uuid4())
        held.claim()

    again = turn_on(drive(boot.uri), drive(data.uri))
    again.booted()
    again.run("mount /dev/vdb /mnt")
    verdict = again.run(f"cd /mnt && head -n 9 {SUMS} | sha256sum -c | grep -c OK")
    again.run("umount /mnt && e2fsck -f -n /dev/vdb")
    again.off()
    boot.release()
    data.release()

    assert verdict == "9"
    check_file_system(boot.download(), PARTITION)
    check_file_system(data.download())
