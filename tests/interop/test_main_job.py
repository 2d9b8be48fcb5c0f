"""The main job on real input: disk images go in, are copied, are shared, and come out the same."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.runner import Cli
from drivebay.model import EVERYONE
from drivebay.units import KIB, MIB

# Debian's grub-rescue-pc brings it: boots from CD and, being a hybrid, from a disk.
ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
ISO_SECTOR = 2048

SIZE = 512 * MIB
CONTENT = 192 * MIB

# mke2fs and e2fsck live where an ordinary user's PATH may not lead.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
E2FSPROGS = all(shutil.which(program, path=PATH) for program in ("mke2fs", "e2fsck"))


def run(*words: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": PATH},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done


def gather(folder: Path) -> None:
    """Copy real files into *folder*: links, empty files, programs and texts of every size."""
    left = CONTENT
    for found in walk("/usr/lib", "/usr/share", "/usr/bin"):
        size = found.lstat().st_size
        if size > min(left, CONTENT // 8) or not os.access(found, os.R_OK):
            continue
        left -= size
        copy = folder / found.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(found, copy, follow_symlinks=False)
        if left < MIB:
            return
    assert left < CONTENT // 2, "this machine has hardly any files"


def walk(*tops: str) -> Iterator[Path]:
    for top in tops:
        for folder, folders, names in os.walk(top):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names))


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def allocated(file: Path) -> int:
    return file.stat().st_blocks * 512


def volume_of(cli: Cli, drive: str) -> Path:
    return cli.server.data / "stores" / "default" / f"{drive}.volume"


@pytest.fixture
def user(server, tmp_path):
    """Make a user with a command line; what the drives and folders take up is given back."""
    made: list[Cli] = []

    def make(name: str) -> Cli:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Cli(server, server.add_user(name), folder))
        return made[-1]

    yield make
    for cli in made:
        for drive in server.api("GET", "/drives/list", user=cli.user).text.split():
            server.api("POST", f"/drives/{drive}/destroy", user=cli.user)
        shutil.rmtree(cli.folder)


@pytest.fixture
def alice(user) -> Cli:
    return user("alice")


@pytest.fixture
def bob(user) -> Cli:
    return user("bob")


@pytest.mark.skipif(not E2FSPROGS, reason="needs e2fsprogs")
def test_a_file_system_goes_through_gzip_and_back_to_a_reader(alice, bob):
    image, back = alice.folder / "disk.img", bob.folder / "back.img"
    files = alice.folder / "files"
    gather(files)
    with image.open("wb") as file:
        file.truncate(SIZE)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", files, image)

    web = alice.ok("upload", str(image), "--name", "web").text.strip()
    packed = alice.create("packed", str(SIZE), "encryption:cipher none")
    copy = alice.create("copy", str(SIZE), f"readers {bob.user[0]}")
    alice.ok("image", "packed", "web", "--gzip")
    alice.ok("image", "copy", "packed", "--gunzip")
    bob.ok("download", copy, str(back))

    assert back.stat().st_size == SIZE
    assert digest_of(back) == digest_of(image)
    run("e2fsck", "-fn", back)
    # What is a hole in the image is one everywhere, give or take what the file system adds.
    content = allocated(image)
    assert content < SIZE * 3 // 4
    for file in (back, volume_of(alice, web), volume_of(alice, copy)):
        assert allocated(file) < content + MIB, file
    assert allocated(volume_of(alice, packed)) < content
    # A reader is no more than that.
    seen = [who.ok("show", copy, "--json").json["read:bytes"] for who in (alice, bob)]
    assert seen[0] == seen[1]
    assert bob("download", web, "web.img").status == 3
    assert bob("write", copy, "0", stdin=b"x").status == 3
    assert bob.ok("list").text == ""


@pytest.mark.skipif(not ISO.exists(), reason="needs the ISO of grub-rescue-pc")
def test_a_bootable_iso_goes_through_gzip_and_back_to_a_reader(alice, bob):
    size = ISO.stat().st_size

    cd = alice.ok("upload", str(ISO), "--name", "cd").text.strip()
    alice.create("packed", str(size + MIB))
    copy = alice.create("copy", str(size), f"readers {EVERYONE}", "encryption:cipher none")
    alice.ok("image", "packed", "cd", "--gzip")
    alice.ok("image", "copy", "packed", "--gunzip")
    bob.ok("download", copy, "back.iso")

    back = (bob.folder / "back.iso").read_bytes()
    assert back == ISO.read_bytes()
    # El Torito, 2.0: the boot record stands in sector 17, and its name says so.
    assert back[17 * ISO_SECTOR + 1 :].startswith(b"CD001\x01EL TORITO SPECIFICATION\0")
    assert back[510:512] == b"\x55\xaa"
    # Stored in plain, it is the same file; encrypted, no sector of it is.
    assert volume_of(alice, copy).read_bytes() == back
    sectors = {back[at : at + 4 * KIB] for at in range(0, size // 4096 * 4096, 4096)}
    stored = volume_of(alice, cd).read_bytes()
    shared = {stored[at : at + 4 * KIB] for at in range(0, len(stored), 4096)} & sectors
    assert shared <= {bytes(4 * KIB)}
