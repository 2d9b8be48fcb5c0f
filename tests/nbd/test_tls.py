"""NBD over TCP: in plain on loopback alone, and over TLS wherever others could read along."""

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from drivebay.units import MIB
from live import COMMAND, Server
from nbd.claimed import Claimed, claimed
from nbd.client import GO, INFO, LIST, STRUCTURED, Client, named, option, read, write

NEEDED = "unshare", "ip", "openssl"
TLS_REQUIRED = 2**31 + 5


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as libnbd and qemu want it, with a certificate that has signed itself."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", folder / "server-key.pem", "-out", folder / "server-cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    shutil.copy(folder / "server-cert.pem", folder / "ca-cert.pem")
    return folder


def options(certificates: Path, address: str = "127.0.0.1:0") -> list[str]:
    return [
        *("--nbd", address, "--nbd-certificate", str(certificates / "server-cert.pem")),
        *("--nbd-key", str(certificates / "server-key.pem")),
    ]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificates: Path):
    """A service that offers drives over TLS on loopback."""
    more = [*options(certificates), "--stall-timeout-s", "1", "--nbd-workers", "1"]
    running = Server(tmp_path_factory.mktemp("secure"), workers=1, options=more)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def context(certificates: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates / "ca-cert.pem")


class TlsClient(Client):
    context: ssl.SSLContext

    def greet(self, flags: int = 3) -> "TlsClient":
        super().greet(flags)
        return self.start_tls(self.context)


@pytest.fixture
def drive(secure: Server) -> Claimed:
    return claimed(secure, "size 40M")


def opened(drive: Claimed, context: ssl.SSLContext, **how: bool) -> Client:
    client = TlsClient(drive.uri)
    client.context = context
    return client.open(**how)


@pytest.mark.parametrize("structured", [True, False])
def test_a_session_over_tls_carries_all_kinds_of_requests(drive, context, structured):
    content = bytes(range(256)) * (128 * 1024)
    assert drive.uri.startswith("nbds://127.0.0.1:")

    with opened(drive, context, structured=structured) as client:
        requests = [write(7, content), read(7, 32 * MIB), *(read(at, 1) for at in range(200))]
        written, found, *_ = client.do(*requests)

    assert (written.error, found.data) == (0, content)
    assert drive.get(7, MIB) == content[:MIB]


STALLS = {
    "a small write": write(0, b"x" * 1000).packed(1)[:500],
    "a long write": write(0, b"x" * 10 * MIB).packed(1)[: 5 * MIB],
    "a header": b"\x25\x60\x95\x13",
    "replies that are not read": b"".join(read(0, 32 * MIB).packed(n) for n in range(50)),
}


@pytest.mark.parametrize("sent", STALLS.values(), ids=STALLS)
def test_a_client_that_stalls_over_tls_is_given_up(secure, drive, context, sent):
    begun = secure.log.read_text().count("connection lost")
    client = opened(drive, context)
    client.send(sent)

    while secure.log.read_text().count("connection lost") == begun:
        pass


def test_a_client_that_is_idle_over_tls_is_not_given_up(secure, drive, context):
    client = opened(drive, context)
    other = opened(drive, context)
    begun = secure.log.read_text().count("connection lost")
    other.send(b"\x25\x60\x95\x13")
    while secure.log.read_text().count("connection lost") == begun:
        pass

    assert client.do(write(0, b"x"), read(0, 1))[1].data == b"x"


def test_release_ends_a_session_over_tls(drive, context):
    client = opened(drive, context)
    assert client.do(read(0, 1))[0].error == 0

    drive.release()

    client.socket.settimeout(5)
    assert client.socket.recv(1) == b""


def test_libnbd_and_qemu_come_by_tls(drive, certificates):
    (certificates / "clients").mkdir(exist_ok=True)
    shutil.copy(certificates / "ca-cert.pem", certificates / "clients")
    uri = drive.uri.replace("127.0.0.1", "localhost")
    place, _, ticket = uri.removeprefix("nbds://").partition("/")
    host, _, port = place.partition(":")

    info = subprocess.run(
        ["nbdinfo", "--size", f"{uri}?tls-certificates={certificates / 'clients'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    image = subprocess.run(
        [
            *("qemu-img", "info", "--object"),
            f"tls-creds-x509,id=tls0,dir={certificates / 'clients'},endpoint=client",
            "--image-opts",
            f"driver=nbd,host={host},port={port},export={ticket},tls-creds=tls0",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert info.stdout.strip() == str(40 * MIB), info
    assert "40 MiB" in image.stdout, image


def test_plain_clients_on_loopback_and_on_the_socket_may_come_as_well(secure, drive):
    plain = drive.uri.replace("nbds://", "nbd://")
    on_socket = f"nbd+unix:///{Client(plain).ticket}?socket={secure.data}/nbd.sock"
    for uri in (plain, on_socket):
        with Client(uri).open() as client:
            assert client.do(read(0, 1))[0].error == 0


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:10809", "[::]:0", "localhost.x:1"])
def test_no_listening_for_other_machines_without_a_certificate(tmp_path, address):
    ended = subprocess.run(
        [
            *COMMAND,
            "serve",
            "--data",
            tmp_path / "data",
            "--http",
            "127.0.0.1:0",
            "--master-key",
            tmp_path / "key",
            "--nbd",
            address,
        ],
        env=Server(tmp_path).env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "TLS" in ended.stderr
    assert "ready" not in ended.stdout


def test_other_machines_get_nowhere_before_tls(tmp_path, certificates):
    """In a network of its own, where the address of another machine is our own."""
    if any(shutil.which(tool) is None for tool in NEEDED):
        pytest.skip("needs unshare, ip and openssl")
    script = [
        "ip link set lo up",
        "ip addr add 192.0.2.1/24 dev lo",
        f"exec {sys.executable} {Path(__file__)} {tmp_path / 'server'} {certificates}",
    ]
    environment = Server(tmp_path).env | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        ["unshare", "-n", "sh", "-ec", "\n".join(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, "as it should be\n"), ended


def _inside(base: str, folder: str) -> None:
    """Connect from an address that is not loopback; run alone in a network of its own."""
    certificates = Path(folder)
    more = [*options(certificates, "192.0.2.1:0"), "--nbd-name", "localhost"]
    server = Server(Path(base), workers=1, options=more).start()
    try:
        drive = claimed(server)
        assert drive.uri.startswith("nbds://localhost:")
        uri = drive.uri.replace("localhost", "192.0.2.1")
        with Client(uri) as client:
            client.greet()
            for number, data in (
                *((GO, named(client.ticket)), (INFO, named(client.ticket))),
                *((LIST, b""), (STRUCTURED, b""), (9, b""), (10, b"x"), (99, b"")),
            ):
                assert [kind for kind, _ in client.ask(number, data)] == [TLS_REQUIRED]
            client.send(option(1, client.ticket.encode()))
            assert client.is_closed()
        with Client(uri) as client:
            assert client.greet(1).ask(INFO, named(client.ticket))[0][0] == TLS_REQUIRED
        with Client(uri) as client:
            client.greet(0)
            assert client.is_closed()
        tls = TlsClient(uri)
        tls.context = ssl.create_default_context(cafile=certificates / "ca-cert.pem")
        with tls.open():
            assert tls.do(write(0, b"x"), read(0, 1))[1].data == b"x"
    finally:
        server.close()
    sys.stdout.write("as it should be\n")


if __name__ == "__main__":
    _inside(*sys.argv[1:])
