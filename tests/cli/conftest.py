"""What the tests of the command line may ask for."""

import datetime as dt
import ipaddress
import os
import random
import shlex
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cli.front import Front
from cli.proxy import Proxy
from cli.runner import Cli, Run
from drivebay.cli.main import main
from drivebay.units import MIB
from live import COMMAND


@pytest.fixture
def cli(server, owner, tmp_path: Path) -> Cli:
    """The command line for a fresh user of the shared service, in an empty folder."""
    return Cli(server, owner, tmp_path)


@pytest.fixture
def inside(cli: Cli, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run commands in this process, for the many that are refused before they do anything."""

    def run(*words: str, **env: str | None) -> Run:
        with monkeypatch.context() as patch:
            patch.chdir(cli.folder)
            for name in {*os.environ} - {*cli.environment(env)}:
                patch.delenv(name)
            for name, value in cli.environment(env).items():
                patch.setenv(name, value)
            capfd.readouterr()
            status = main(words)
        out, err = capfd.readouterr()
        return Run(int(status), out.encode(), err)

    return run


@pytest.fixture
def proxy(server):
    """A proxy in front of the shared service; it passes everything until it is told otherwise."""
    with Proxy(server.port) as running:
        yield running


@pytest.fixture
def front(server):
    """An HTTP front before the shared service; honest until it is told otherwise."""
    with Front(server.port) as running:
        yield running


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file of 22 MiB and a few bytes: noise, zeros, text, a hole, and noise at its end."""
    noise = random.Random(22)
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.write(noise.randbytes(5 * MIB))
        file.write(bytes(4 * MIB))
        file.write(b"all work and no play " * 100_000)
        file.seek(20 * MIB)
        file.write(noise.randbytes(2 * MIB + 5))
    return path


@pytest.fixture
def bash(cli: Cli):
    """Run a line in bash, with `drivebay` on the PATH as users have it."""
    folder = cli.folder / "bin"
    folder.mkdir()
    command = folder / "drivebay"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)

    def run(line: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{folder}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--norc", "-c", line],
            env={**cli.env, "PATH": path, **env},
            cwd=cli.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
