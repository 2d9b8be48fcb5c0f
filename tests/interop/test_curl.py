"""curl itself, in the ways that people and their scripts use it."""

import gzip
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivebay.units import KIB, MIB
from live import Credentials, Server

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

NOISE = random.Random(7)


@dataclass
class Curl:
    """`curl -s` with the user's credentials in a configuration file, as the vendor's tools do."""

    server: Server
    user: Credentials
    folder: Path

    def __call__(self, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess:
        """Run it; a word that begins with a slash is a path of the service."""
        config = self.folder / "curl.conf"
        config.write_text(f'user = "{":".join(self.user)}"\n')
        given = [f"{self.server.url}{word}" if str(word)[:1] == "/" else word for word in words]
        return subprocess.run(
            ["curl", "-s", "-K", config, *given],
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
            cwd=self.folder,
        )

    def ok(self, *words: str | Path, stdin: bytes = b"") -> bytes:
        done = self("-f", *words, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout

    def drive(self, size: str) -> str:
        return self.server.create(f"size {size}", user=self.user)

    def saved(self, name: str, content: bytes) -> str:
        """Keep *content* in a file and return curl's word for it."""
        (self.folder / name).write_bytes(content)
        return f"@{name}"


@pytest.fixture
def curl(server, owner, tmp_path) -> Curl:
    return Curl(server, owner, tmp_path)


@pytest.mark.parametrize("version", ["-0", "--http1.1", "--http2"])
def test_every_version_of_http_that_curl_offers_moves_bytes(curl, version):
    """`--http2` asks for an upgrade on the way, which the service passes over."""
    drive = curl.drive("8M")
    content = NOISE.randbytes(5 * MIB)

    curl.ok(version, f"/drives/{drive}/write", "--data-binary", curl.saved("body", content))

    found = curl.ok(version, f"/drives/{drive}/read/0/4M", f"/drives/{drive}/read/4M/1M")
    assert found == content


def test_a_large_body_waits_for_100_continue(curl):
    drive = curl.drive("8M")
    body = curl.saved("body", NOISE.randbytes(6 * MIB))

    # Else curl sends after a second, whether it was told to or not.
    patience = ("--expect100-timeout", "60")
    done = curl("-v", *patience, f"/drives/{drive}/write", "--data-binary", body)

    asked, told, answered = (
        done.stderr.index(line)
        for line in (b"> Expect: 100-continue", b"< HTTP/1.1 100 Continue", b"< HTTP/1.1 204")
    )
    assert asked < told < answered


@pytest.mark.parametrize("length", [1, 70 * KIB, 6 * MIB])
def test_a_refused_body_is_not_even_sent_where_curl_expects_100(curl, length):
    curl.user = (curl.user[0], "wrong")
    body = curl.saved("body", bytes(length))

    done = curl(
        *("-H", "Expect: 100-continue", "--expect100-timeout", "60", "--data-binary", body),
        *("-w", "%{http_code} %{size_upload}", "-o", "answer", "/drives/create"),
    )

    assert done.stdout == b"401 0", done
    assert b"API key" in (curl.folder / "answer").read_bytes()


def test_a_refused_body_that_is_sent_anyway_does_not_hide_the_answer(curl):
    drive = curl.drive("1M")
    body = curl.saved("body", bytes(30 * MIB))

    done = curl("-H", "Expect:", "--data-binary", body, "-i", f"/drives/{drive}/write")

    assert done.stdout.startswith(b"HTTP/1.1 507")
    assert b"x-elastic-error: full\r\n" in done.stdout.lower()


@pytest.mark.parametrize("mib", [4, 5, 16])
def test_chunks_are_whole_gzip_streams_of_any_size(curl, mib):
    drive = curl.drive("32M")
    content = NOISE.randbytes(3 * MIB) + bytes((mib - 3) * MIB)
    stream = gzip.compress(content, 9 if mib == 5 else 1)

    curl.ok(
        *("-H", "Content-Encoding: gzip", "-H", "Content-Type: application/octet-stream"),
        *("--data-binary", "@-", f"/drives/{drive}/write/7"),
        stdin=stream,
    )

    reads = [f"/drives/{drive}/read/{7 + at * MIB}/1M" for at in range(mib)]
    assert curl.ok(*reads) == content


def test_one_connection_carries_many_calls(curl):
    drive = curl.drive("8M")
    reads = [f"/drives/{drive}/read/{at}M/1M" for at in range(8)]

    done = curl.ok(*reads, *(["-o", "answer"] * 8), "-w", "%{http_code} %{num_connects}\n")

    assert done.decode().split("\n")[:-1] == ["200 1", *["200 0"] * 7]


def test_an_error_in_between_leaves_the_connection_in_use(curl):
    drive = curl.drive("1M")
    paths = ["/drives/list", f"/drives/{drive}/read/1M/1", "/nothing", f"/drives/{drive}/info"]

    done = curl(*paths, *(["-o", "answer"] * 4), "-w", "%{http_code} %{num_connects}\n")

    assert done.stdout.decode().split("\n")[:-1] == ["200 1", "400 0", "404 0", "200 0"]


def test_parallel_transfers_both_ways(curl):
    """`curl -Z` with each transfer's options in a configuration file, as its manual shows."""
    count = 12
    drive = curl.drive(f"{count * 4}M")
    pieces = [NOISE.randbytes(4 * MIB) for _ in range(count)]
    url = f"{curl.server.url}/drives/{drive}"
    writes, reads = [], []
    for index, piece in enumerate(pieces):
        word = curl.saved(f"piece-{index}", piece)
        writes.append(f'url = "{url}/write/{index * 4}M"\ndata-binary = "{word}"\nfail\n')
        reads.append(f'url = "{url}/read/{index * 4}M/4M"\noutput = "back-{index}"\nfail\n')
    user = f'user = "{":".join(curl.user)}"\n'
    for name, parts in (("writes", writes), ("reads", reads)):
        (curl.folder / name).write_text("next\n".join(user + part for part in parts))

    for name in ("writes", "reads"):
        curl.ok("-Z", "--parallel-immediate", "--parallel-max", str(count), "-K", name)

    found = [(curl.folder / f"back-{index}").read_bytes() for index in range(count)]
    assert found == pieces
    info = curl.server.api("GET", f"/drives/{drive}/info", user=curl.user).record
    assert info["write:requests"] == info["read:requests"] == str(count)
    assert info["write:bytes"] == info["read:bytes"] == str(count * 4 * MIB)


def test_head_tells_what_get_would_bring(curl):
    drive = curl.drive("8M")

    head = curl.ok("-I", f"/drives/{drive}/read/0/4M").lower()

    assert head.startswith(b"http/1.1 200")
    assert b"content-length: 4194304\r\n" in head


def test_credentials_may_stand_in_the_url_or_be_asked_for(curl):
    address = curl.server.url.removeprefix("http://")
    netrc = curl.folder / "netrc"
    netrc.write_text(f"machine {curl.server.host} login {curl.user[0]} password {curl.user[1]}\n")
    drive = curl.drive("1M")
    forms = [
        [f"http://{':'.join(curl.user)}@{address}/drives/list"],
        ["--netrc-file", netrc, f"{curl.server.url}/drives/list"],
        # Without credentials first, then what the 401 asks for.
        ["--anyauth", "-u", ":".join(curl.user), f"{curl.server.url}/drives/list"],
    ]

    for form in forms:
        done = subprocess.run(["curl", "-sf", *form], capture_output=True, timeout=60, check=True)
        assert done.stdout == f"{drive}\n".encode()


def test_a_body_is_sent_again_when_the_401_asks_for_credentials(curl):
    drive = curl.drive("1M")
    body = curl.saved("body", b"content")

    curl.ok("--anyauth", "--data-binary", body, f"/drives/{drive}/write/3")

    assert curl.ok(f"/drives/{drive}/read/3/7") == b"content"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["-T", "body"], 405),
        (["-X", "DELETE"], 405),
        (["-X", "POST", "-T", "-"], 411),
        (["-H", "Transfer-Encoding: chunked", "--data-binary", "@body"], 411),
        (["-H", "Content-Encoding: br", "--data-binary", "@body"], 400),
        (["-H", "Expect: something", "--data-binary", "@body"], 417),
    ],
)
def test_what_the_api_does_not_take_is_refused_and_changes_nothing(curl, words, status):
    drive = curl.drive("1M")
    curl.saved("body", b"content")

    done = curl(
        *(*words, "-w", "%{http_code}", "-o", "answer", f"/drives/{drive}/write"), stdin=b"content"
    )

    assert done.stdout == str(status).encode()
    assert curl.ok(f"/drives/{drive}/read/0/7") == bytes(7)


def test_doubled_slashes_queries_and_compression_on_offer_change_nothing(curl):
    drive = curl.drive("1M")

    assert curl.ok("//drives//list") == f"{drive}\n".encode()
    assert curl.ok("/drives/list?zone=lon-p") == f"{drive}\n".encode()
    assert curl.ok("--compressed", f"/drives/{drive}/read/0/9") == bytes(9)
    assert curl.ok("--tr-encoding", f"/drives/{drive}/read/0/9") == bytes(9)


def test_a_slow_upload_is_waited_for(curl):
    drive = curl.drive("1M")
    content = NOISE.randbytes(96 * KIB)
    body = curl.saved("body", content)

    curl.ok("--limit-rate", "128k", "--data-binary", body, f"/drives/{drive}/write")

    assert curl.ok(f"/drives/{drive}/read/0/96k") == content
