"""Other people's HTTP clients: requests, urllib3 and wget."""

import gzip
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import urllib3

from drivebay.units import MIB

CONTENT = random.Random(11).randbytes(6 * MIB)


def test_requests_keeps_its_connection_over_calls_of_every_kind(server, owner):
    with requests.Session() as session:
        session.auth = owner
        made = session.post(
            f"{server.url}/drives/create",
            json={"name": "web", "size": 8 * MIB, "user:live": True},
            headers={"Accept": "application/json"},
        ).json()
        drive = f"{server.url}/drives/{made['drive']}"
        wrote = session.post(f"{drive}/write", data=CONTENT)
        parts = [session.get(f"{drive}/read/{at}M/2M") for at in (0, 2, 4)]
        missing = session.get(f"{server.url}/nothing")
        gone = session.post(f"{drive}/destroy")
        pools = session.get_adapter(server.url).poolmanager.pools
        (pool,) = (pools[key] for key in pools.keys())  # noqa: SIM118 - it does not iterate

    assert made["size"] == 8 * MIB
    assert made["user:live"] == "true"
    assert wrote.status_code == gone.status_code == 204
    assert b"".join(part.content for part in parts) == CONTENT
    assert (missing.status_code, missing.headers["X-Elastic-Error"]) == (404, "missing")
    assert pool.num_connections == 1


def test_requests_sends_files_and_is_told_what_is_wrong_with_a_generator(server, owner, tmp_path):
    drive = server.create("size 8M", user=owner)
    (tmp_path / "content").write_bytes(gzip.compress(CONTENT, 1))
    url = f"{server.url}/drives/{drive}/write"

    with (tmp_path / "content").open("rb") as file:
        packed = requests.post(url, file, auth=owner, headers={"Content-Encoding": "gzip"})
    # Without a length it sends chunks.
    chunked = requests.post(url, (part for part in (b"a", b"b")), auth=owner)

    assert packed.status_code == 204
    assert chunked.status_code == 411
    assert "Content-Length" in chunked.text
    assert server.api("GET", f"/drives/{drive}/read/0/4M", user=owner).body == CONTENT[: 4 * MIB]


def test_urllib3_moves_pieces_from_many_threads(server, owner):
    drive = server.create("size 32M", user=owner)
    headers = urllib3.make_headers(basic_auth=":".join(owner))
    pieces = [random.Random(number).randbytes(MIB) for number in range(32)]

    with (
        urllib3.PoolManager(maxsize=8, block=True, headers=headers) as pool,
        ThreadPoolExecutor(8) as threads,
    ):

        def call(path: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
            return pool.request("POST", f"{server.url}/drives/{drive}/{path}", body=body)

        wrote = list(threads.map(lambda at: call(f"write/{at}M", pieces[at]).status, range(32)))
        found = list(threads.map(lambda at: call(f"read/{at}M/1M").data, range(32)))

    assert wrote == [204] * 32
    assert found == pieces


@pytest.mark.skipif(shutil.which("wget") is None, reason="needs wget")
@pytest.mark.parametrize("challenge", [(), ("--auth-no-challenge",)], ids=["asked", "unasked"])
def test_wget_logs_in_and_posts(server, owner, tmp_path, challenge):
    """Without `--auth-no-challenge`, wget tries without credentials first."""
    drive = server.create("size 8M", user=owner)
    user, key = owner
    (tmp_path / "body").write_bytes(CONTENT)

    def wget(*words: str, path: str) -> bytes:
        command = ["wget", "-q", "-O", "-", f"--user={user}", f"--password={key}", *challenge]
        done = subprocess.run(
            [*command, *words, f"{server.url}{path}"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done
        return done.stdout

    wget(f"--post-file={tmp_path / 'body'}", path=f"/drives/{drive}/write")

    assert wget(path=f"/drives/{drive}/read/2M/4M") == CONTENT[2 * MIB :]
    assert wget("--post-data=", path="/drives/list") == f"{drive}\n".encode()
