"""Keys stay where they belong, and https is not https without a certificate."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from cli.proxy import Proxy, Rule
from cli.runner import Cli


class _TlsFront:
    """Takes TLS connections one after the other and passes each to a port in plain."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self._pass_on(connection)
        except OSError:
            return

    def _pass_on(self, connection: socket.socket) -> None:
        try:
            with self._context.wrap_socket(connection, server_side=True) as client:
                request = client.recv(65536)
                self.received += request
                with socket.create_connection(("127.0.0.1", self._port), timeout=60) as service:
                    service.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    while part := service.recv(65536):
                        client.sendall(part)
        except ssl.SSLError:
            # The client does not trust us and has gone.
            return


@pytest.fixture
def tls(server, certificate: Path):
    running = _TlsFront(certificate, server.port)
    yield running
    running.close()


def test_a_certificate_that_nobody_vouches_for_is_fatal(cli: Cli, tls):
    run = cli("list", "--url", tls.url)

    assert run.status == 1
    assert f"drivebay: cannot trust {tls.url}: " in run.err
    assert "hint: set SSL_CERT_FILE to the certificate of the authority that you trust" in run.err
    assert tls.received == b""


def test_a_certificate_that_was_chosen_is_trusted(cli: Cli, tls, certificate: Path):
    drive = cli.create("web")

    run = cli.ok("list", "--url", tls.url, SSL_CERT_FILE=str(certificate))

    assert run.lines[0].startswith(drive)


def test_a_certificate_for_another_host_is_fatal(cli: Cli, tls, certificate: Path):
    url = tls.url.replace("127.0.0.1", "localhost")

    run = cli("list", "--url", url, SSL_CERT_FILE=str(certificate))

    assert run.status == 1
    assert "cannot trust" in run.err
    assert tls.received == b""


def test_https_to_a_plain_service_sends_nothing(cli: Cli, proxy: Proxy):
    run = cli("list", "--url", proxy.url.replace("http:", "https:"))

    assert run.status == 1
    assert "cannot trust" in run.err


def test_the_key_is_in_no_argument_of_a_running_command_nor_in_the_log(
    cli: Cli, proxy: Proxy, image: Path
):
    proxy.rules["up"] = Rule("hold", after=1024 * 1024)
    key = cli.user[1]

    with cli.on_terminal("upload", image.name, "-v", "--debug", "--url", proxy.url) as terminal:
        proxy.wait_for_hold()
        arguments = Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()
        terminal.type("\x03")
        run = terminal.ended()

    assert image.name.encode() in arguments
    assert key.encode() not in arguments
    assert key not in run.text
    assert key not in cli.server.log.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--json"],
        ["show", "none"],
        ["profile", "show", "--origin"],
        ["profile", "list", "--json"],
        ["api", "GET", "/drives/list", "-i"],
        ["api", "GET", "/nothing"],
        ["list", "--url", "http://127.0.0.1:1"],
        ["list", "--url", "http://host.invalid"],
    ],
)
def test_no_command_prints_the_key_however_much_it_says(cli: Cli, words: list[str]):
    cli.ok("profile", "add", "default", stdin=":".join(cli.user).encode())

    # Where nobody answers for names, resolv.conf(5) may have it wait for a minute.
    run = cli(*words, "-v", "--debug", RES_OPTIONS="timeout:1 attempts:1")

    for secret in (cli.user[1], "Basic "):
        assert secret not in run.text
        assert secret not in run.err
