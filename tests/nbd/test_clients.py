"""Clients that others wrote: libnbd's tools and shell, qemu's, and fio."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from drivebay.units import KIB, MIB
from live import Server
from nbd.claimed import Claimed, claimed

SIZE = 16 * MIB


def run(*words: str | Path, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one of the clients."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    ended = subprocess.run(
        [str(word) for word in words],
        # libnbd's module belongs to the system's Python.
        env={**os.environ, "PATH": f"/usr/bin:/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert may_fail or ended.returncode == 0, ended
    return ended


def sparse_content() -> bytes:
    """Return data with holes between, in pieces of 64 KiB."""
    dice = random.Random(5)
    pieces = [
        dice.randbytes(64 * KIB) if dice.random() < 0.4 else bytes(64 * KIB) for _ in range(256)
    ]
    return b"".join(pieces)


@pytest.fixture
def drive(anywhere: Server) -> Claimed:
    return claimed(anywhere, f"size {SIZE}")


@pytest.fixture
def full(anywhere: Server) -> Claimed:
    """A drive with data and holes."""
    made = claimed(anywhere, f"size {SIZE}")
    made.release()
    made.put(sparse_content())
    return made.claim()


class TestLibnbd:
    def test_nbdinfo_tells_what_the_export_is(self, full):
        document = json.loads(run("nbdinfo", "--json", full.uri).stdout)

        assert (document["protocol"], document["structured"]) == ("newstyle-fixed", True)
        (export,) = document["exports"]
        assert {key: export[key] for key in export if key.startswith(("can", "is", "block"))} == {
            "is_read_only": False,
            "is_rotational": False,
            **dict.fromkeys(("can_cache",), False),
            **dict.fromkeys(("can_df", "can_fast_zero", "can_flush", "can_fua"), True),
            **dict.fromkeys(("can_multi_conn", "can_trim", "can_zero"), True),
            "block_size_minimum": 1,
            "block_size_preferred": 4096,
            "block_size_maximum": 32 * MIB,
        }
        assert export["export-size"] == SIZE
        assert export["contexts"] == ["base:allocation"]
        assert full.drive in export["description"]

    def test_nbdinfo_maps_what_is_data(self, full):
        extents = json.loads(run("nbdinfo", "--map", "--json", full.uri).stdout)

        content = sparse_content()
        assert sum(extent["length"] for extent in extents) == SIZE
        for extent in extents:
            piece = content[extent["offset"] : extent["offset"] + extent["length"]]
            assert (extent["type"] == 3) == (not any(piece)), extent

    @pytest.mark.parametrize("connections", ["1", "4"])
    def test_nbdcopy_copies_in_and_out(self, drive, tmp_path, connections):
        content = sparse_content()
        (tmp_path / "in").write_bytes(content)

        run("nbdcopy", f"--connections={connections}", "--flush", tmp_path / "in", drive.uri)
        run("nbdcopy", f"--connections={connections}", drive.uri, tmp_path / "out")

        assert drive.content() == content
        assert (tmp_path / "out").read_bytes() == content

    @pytest.mark.parametrize("structured", ["True", "False"])
    def test_nbdsh_reads_and_writes(self, drive, structured):
        script = f"""
h.set_request_structured_replies({structured})
h.add_meta_context("base:allocation")
h.set_strict_mode(0)
h.connect_uri({drive.uri!r})
assert h.get_structured_replies_negotiated() is {structured}
h.pwrite(b"x" * 5000, 4095, nbd.CMD_FLAG_FUA)
h.zero(1000, 5000, nbd.CMD_FLAG_NO_HOLE)
h.trim(8192, 4096)
h.flush()
big = bytes(range(256)) * (32 * 1024)
h.pwrite(big, 1 << 20)
assert h.pread(len(big), 1 << 20) == big
try:
    h.pread(1, {SIZE})
except nbd.Error as error:
    assert error.errno in ("EINVAL", "ENOSPC"), error
else:
    raise AssertionError("read past the end")
h.shutdown()
"""

        run("nbdsh", "-c", script)

        content = drive.content()
        assert content[4095] == ord("x")
        assert content[4096:12288] == bytes(8192)
        assert content[MIB : 9 * MIB] == bytes(range(256)) * (32 * KIB)

    def test_nbdsh_with_many_requests_in_flight(self, drive):
        script = f"""
h.connect_uri({drive.uri!r})
buffers = [nbd.Buffer.from_bytearray(bytearray([n % 251]) * 4096) for n in range(1000)]
cookies = [h.aio_pwrite(buffer, n * 5000) for n, buffer in enumerate(buffers)]
for cookie in cookies:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
for n in range(1000):
    assert h.pread(4096, n * 5000) == bytes([n % 251]) * 4096
h.shutdown()
"""

        run("nbdsh", "-c", script)


class TestQemu:
    def test_qemu_img_converts_in_and_out_and_compares(self, drive, tmp_path):
        raw, again = tmp_path / "in.raw", tmp_path / "out.raw"
        raw.write_bytes(sparse_content())

        run("qemu-img", "convert", "-n", "-W", "-f", "raw", "-O", "raw", raw, drive.uri)
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", drive.uri, again)
        same = run("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, drive.uri)

        assert "identical" in same.stdout
        assert again.read_bytes() == raw.read_bytes() == drive.content()
        assert again.stat().st_blocks * 512 < SIZE

    def test_qemu_img_maps_holes_as_holes(self, full):
        extents = json.loads(run("qemu-img", "map", "-f", "raw", "--output=json", full.uri).stdout)

        content = sparse_content()
        assert sum(extent["length"] for extent in extents) == SIZE
        for extent in extents:
            piece = content[extent["start"] : extent["start"] + extent["length"]]
            assert extent["zero"] == (not any(piece)), extent

    def test_a_qcow2_image_lives_on_a_drive(self, drive, tmp_path):
        raw = tmp_path / "in.raw"
        raw.write_bytes(sparse_content()[: 8 * MIB])

        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, drive.uri)
        run("qemu-img", "create", "-f", "qcow2", drive.uri, "8M")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", raw, drive.uri)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, drive.uri)
        checked = run("qemu-img", "check", "-f", "qcow2", drive.uri)

        assert "No errors" in checked.stdout

    @pytest.mark.parametrize("cache", ["none", "writethrough", "writeback"])
    def test_qemu_io_finds_the_patterns_that_it_wrote(self, drive, cache):
        script = [
            *("write -P 0xab 0 1M", "read -P 0xab 0 1M", "write -P 0xcd 1000 3000"),
            *("read -P 0xab 0 1000", "read -P 0xcd 1000 3000", "read -P 0xab 4000 100"),
            *("discard 64k 128k", "read -P 0 64k 128k", "write -z 256k 64k", "read -P 0 256k 64k"),
            *("write -z -u 320k 64k", "read -P 0 320k 64k", "write -f -P 0x11 15M 1M", "flush"),
            *("read -P 0x11 15M 1M", f"read -P 0x11 {SIZE - 1} 1"),
        ]
        words = [word for line in script for word in ("-c", line)]

        ended = run("qemu-io", "-t", cache, "-d", "unmap", "-f", "raw", *words, drive.uri)

        assert "verification failed" not in ended.stdout + ended.stderr
        assert "error" not in (ended.stdout + ended.stderr).lower()
        assert drive.get(15 * MIB, 2) == b"\x11\x11"

    def test_qemu_io_finds_an_export_for_reading_closed_to_writes(self, full):
        full.claim("claim:access read")

        words = ("-f", "raw", "-c", "write 0 4k", full.uri)
        ended = run("qemu-io", *words, may_fail=True)

        assert "Permission denied" in ended.stderr
        run("qemu-io", "-r", "-f", "raw", "-c", "read 0 4k", full.uri)
        assert full.content() == sparse_content()

    def test_qemu_nbd_lists_nothing(self, drive):
        socket = drive.uri.partition("socket=")[2]

        listed = run("qemu-nbd", "--list", "-k", socket)

        assert "exports available: 0" in listed.stdout


def test_fio_finds_what_it_wrote_in_random_sizes(server, tmp_path):
    """One GiB of random writes of any length of sectors, sixteen in flight, over encryption."""
    drive = claimed(server, "size 1G")

    ended = run(
        *("fio", "--name=verify", "--ioengine=nbd", f"--uri={drive.uri}", "--size=1G"),
        *("--rw=randwrite", "--bsrange=512-256k", "--bs_unaligned", "--iodepth=16"),
        *("--verify=crc32c", "--verify_fatal=1", "--randseed=11", "--output-format=json"),
        f"--aux-path={tmp_path}",
        may_fail=True,
    )

    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    (job,) = json.loads(ended.stdout[ended.stdout.index("{") :])["jobs"]
    assert job["error"] == 0
    assert job["read"]["io_bytes"] >= 1000 * MIB
    assert int(drive.info()["write:bytes"]) == job["write"]["io_bytes"]
