"""Attach, detach and claims; and what real NBD clients make of what attach prints."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from cli.front import Front, Lie
from cli.runner import Cli
from drivebay.client.machine import server_uuid
from drivebay.units import MIB

SERVER = "5b4c2f6e-3f0a-4c0e-9b53-0f8c8a0f7a11"
OTHER = "0012e24a-6eae-4279-9912-3432f698cec8"
HERE = str(server_uuid())
TICKET = "[A-Za-z0-9_-]{43}"
ANSWERS_WITHIN_S = 60


def _client(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a client of NBD; without it the test is skipped."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ANSWERS_WITHIN_S,
        check=False,
    )


def _served(uri: str) -> bool:
    done = _client("nbdinfo", uri)
    assert done.returncode == 0 or "No such file or directory for export" in done.stderr, done
    return done.returncode == 0


def _answering(**changes: str | None) -> Callable:
    """Return a lie that changes the record of a claim; None takes a key away."""

    def lie(call, answer):
        if call.verb != "claim" or answer.status != 200:
            return None
        record = {**json.loads(answer.body), **changes}
        kept = {key: value for key, value in record.items() if value is not None}
        return Lie(200, {"content-type": "application/json"}, json.dumps(kept).encode())

    return lie


def test_attach_prints_the_uri_and_nothing_else_on_stdout(cli: Cli):
    web = cli.create("web", "3M")

    run = cli.ok("attach", "web")

    socket = cli.server.data / "nbd.sock"
    assert re.fullmatch(rf"nbd\+unix:///{TICKET}\?socket={re.escape(str(socket))}\n", run.text)
    assert run.err == (
        f'attached drive "web", 3 MiB, to server {HERE} for writing\n'
        "the ticket in the URI is shown this once; whoever has it can use the drive\n"
        "to attach it again makes a new ticket and ends the connections that are there then\n"
    )
    assert cli.info(web)["claimed"] == HERE
    assert cli.ok("attach", web, "-q").err == ""


def test_attach_on_a_terminal_says_what_to_do_with_the_uri(cli: Cli):
    cli.create("web")

    lines = cli.terminal("attach", "web", "--server", SERVER).lines

    uri = lines[0]
    shown = [shlex.split(line) for line in lines if line.startswith("  ")]
    assert uri.startswith("nbd+unix:///")
    assert f'attached drive "web", 1 MiB, to server {SERVER} for writing' in lines
    assert [words[0] for words in shown] == ["qemu-system-x86_64", "nbdinfo", "nbdcopy", "drivebay"]
    assert shown[0][-1] == f"file={uri},format=raw,if=virtio,cache=none,discard=unmap"
    assert [words[1] for words in shown[1:3]] == [uri, uri]
    assert shown[3] == ["drivebay", "detach", "web", "--server", SERVER]
    cli.ok(*shown[3][1:])


def test_attach_in_json_is_the_record_with_the_claim(cli: Cli):
    web = cli.create("web")

    run = cli.ok("attach", "web", "--json", "--read-only")

    document = run.json
    assert (document["drive"], document["claimed"]) == (web, HERE)
    assert document["claim:access"] == "read"
    assert document["claim:ticket"] in document["nbd"]
    assert run.err == ""


@pytest.mark.parametrize("options", [[], ["--read-only"]])
def test_a_shell_hands_the_option_for_qemu_on_in_two_words(bash, cli: Cli, options: list[str]):
    cli.create("web")

    run = bash(f"printf '%s\\n' $(drivebay attach --qemu web {' '.join(options)})")

    option, value = run.stdout.splitlines()
    assert option == "-drive"
    file, *rest = value.split(",")
    assert re.fullmatch(rf"file=nbd\+unix:///{TICKET}\?socket=.*", file)
    wanted = ["format=raw", "if=virtio", "cache=none", "discard=unmap"]
    assert rest == wanted + ["readonly=on"] * len(options)


def test_a_comma_in_a_uri_is_doubled_for_qemu_and_left_alone_elsewhere(cli: Cli, front: Front):
    cli.create("web")
    front.lie = _answering(nbd="nbd://a,b:1/t")

    assert cli.ok("attach", "web", "--url", front.url).text == "nbd://a,b:1/t\n"
    run = cli.ok("attach", "web", "--qemu", "--url", front.url)
    assert run.text.startswith("-drive file=nbd://a,,b:1/t,format=raw,")


def test_a_uri_with_tls_becomes_qemus_own_options(cli: Cli, front: Front):
    cli.create("web")
    front.lie = _answering(nbd="nbds://[fd00::1]:10809/ticket")

    piped = cli.ok("attach", "web", "--qemu", "--url", front.url)
    lines = cli.terminal("attach", "web", "--url", front.url).lines

    assert piped.text == (
        "-drive file.driver=nbd,file.host=fd00::1,file.port=10809,file.export=ticket,"
        "file.tls-creds=tls0,format=raw,if=virtio,cache=none,discard=unmap\n"
    )
    assert "-object tls-creds-x509,id=tls0,endpoint=client,dir=DIR" in piped.err
    (machine,) = (line for line in lines if "qemu-system-x86_64" in line)
    assert "-object tls-creds-x509,id=tls0,endpoint=client,dir=DIR -drive file.driver" in machine


def test_a_socket_that_is_not_here_is_pointed_out(cli: Cli, front: Front):
    cli.create("web")
    front.lie = _answering(nbd="nbd+unix:///t?socket=/no/such.sock")

    run = cli.ok("attach", "web", "-q", "--url", front.url)

    assert "drivebay: warning: the socket /no/such.sock is out of reach from here" in run.err


@pytest.mark.parametrize(
    "nbd",
    [None, "", "nbd://", "http://host/t", "nbd://h/t -drive x", "nbd://h/t\n-S", "nbd://h/\x1b[2J"],
)
def test_a_claim_without_a_uri_that_can_be_used_makes_no_sense(cli: Cli, front: Front, nbd):
    cli.create("web")
    front.lie = _answering(nbd=nbd)

    run = cli("attach", "web", "--qemu", "--url", front.url)

    assert (run.status, run.out) == (1, b"")
    assert "makes no sense: a claim without the URI of its drive\n" in run.err


def test_a_claim_whose_answer_is_lost_is_made_once_more(cli: Cli, front: Front):
    cli.create("web")
    broken = [Lie(200, {"content-type": "application/json", "content-length": "999"}, [b"{"])]
    front.lie = lambda call, _: broken.pop() if call.verb == "claim" and broken else None

    run = cli.ok("attach", "web", "--url", front.url)

    assert [call.verb for call in front.calls].count("claim") == 2
    assert _served(run.text.strip())


def test_the_machine_is_the_same_server_each_time_and_does_not_show_its_id(tmp_path: Path):
    one, other, empty = tmp_path / "one", tmp_path / "other", tmp_path / "empty"
    one.write_text("4d5f8c1e6b7a4f0d9c3b2a1908f7e6d5\n")
    other.write_text("0123456789abcdef0123456789abcdef\n")
    empty.write_text("uninitialized\n")

    made = [server_uuid(path) for path in (one, other, empty)]

    assert made == [server_uuid(path) for path in (one, other, tmp_path / "none")]
    assert len(set(made)) == 3
    assert UUID(one.read_text().strip()) not in made
    assert server_uuid() == server_uuid(Path("/etc/machine-id"))


def test_a_drive_that_is_attached_again_has_a_new_ticket_and_the_old_one_is_worth_nothing(cli: Cli):
    cli.create("web")
    first = cli.ok("attach", "web").text.strip()
    assert _served(first)

    second = cli.ok("attach", "web").text.strip()

    assert first != second
    assert not _served(first)
    assert _served(second)


def test_detach_closes_the_drive_to_its_server(cli: Cli):
    web = cli.create("web")
    uri = cli.ok("attach", "web").text.strip()

    run = cli.ok("detach", "web")

    assert run.err == f'detached drive "web" from server {HERE}\n'
    assert not _served(uri)
    assert "claimed" not in cli.info(web)
    cli.ok("attach", "web", "--server", SERVER)
    done = cli.ok("detach", web, "--server", SERVER.upper(), "--json")
    assert done.json == {"drive": web, "name": "web", "server": SERVER}
    assert done.err == ""


def test_to_detach_what_is_not_held_says_so(cli: Cli):
    cli.create("web")
    cli.ok("attach", "web", "--server", SERVER)

    run = cli("detach", "web")

    assert run.status == 3
    assert run.err.startswith(f'drivebay: server {HERE} does not hold drive "web"')
    assert "hint: 'drivebay claims' shows" in run.err
    assert cli("detach", OTHER).status == 3
    assert cli("detach", "db").status == 3


def test_an_exclusive_drive_has_one_server_and_is_busy_for_the_next_and_for_changes(cli: Cli):
    cli.create("web")
    cli.ok("attach", "web", "--server", SERVER)

    run = cli("attach", "web")

    assert run.status == 6
    assert f"server {SERVER} holds it" in run.err
    assert "hint: 'drivebay claims' shows" in run.err
    assert cli("write", "web", "0", stdin=b"x").status == 6
    assert cli("destroy", "web", "--yes").status == 6
    assert cli.ok("read", "web", "0", "1").out == b"\0"


def test_a_reader_attaches_a_shared_drive_and_only_reads(cli: Cli, server):
    reader = Cli(server, server.add_user("reader"), cli.folder)
    web = cli.create("web", "1M", "claim:type shared", f"readers {reader.user[0]}")
    cli.ok("attach", "web", "--server", SERVER)

    run = reader.ok("attach", web)

    assert "for reading\n" in run.err
    assert json.loads(_client("nbdinfo", "--json", run.text.strip()).stdout)["exports"][0][
        "is_read_only"
    ]
    assert reader("detach", web, "--server", SERVER).status == 3
    assert cli.ok("claims").lines == [f"{web}\tweb\tshared\t{one}" for one in (SERVER, HERE)]
    reader.ok("detach", web)


def test_claims_lists_a_line_for_each_server_by_the_drives_name(cli: Cli):
    web, db = cli.create("web", "1M", "claim:type shared"), cli.create("db")
    cli.create("free")
    assert cli.ok("claims").lines == []
    assert "no server holds a drive of yours" in cli.ok("claims").err
    for words in (["web", "--server", SERVER], ["web", "--server", OTHER], ["db"]):
        cli.ok("attach", *words)

    piped, document = cli.ok("claims"), cli.ok("claims", "--json")
    shown = cli.terminal("claims", NO_COLOR="1")

    assert piped.lines == [
        f"{db}\tdb\texclusive\t{HERE}",
        f"{web}\tweb\tshared\t{SERVER}",
        f"{web}\tweb\tshared\t{OTHER}",
    ]
    assert document.json[0] == {
        "drive": db,
        "name": "db",
        "claim:type": "exclusive",
        "server": HERE,
    }
    assert [row["server"] for row in document.json] == [HERE, SERVER, OTHER]
    assert re.fullmatch(r"DRIVE +NAME +TYPE +SERVER", shown.lines[0])
    assert len(shown.lines) == 4


def test_imaging_is_no_claim_of_a_server(cli: Cli, front: Front):
    web, copy = cli.create("web"), cli.create("copy")
    unknown = "00000000-0000-0000-0000-000000000000"

    def lie(call, answer):
        records = json.loads(answer.body)
        for record in records:
            if record["drive"] == web:
                record["claimed"] = f"{SERVER} {copy} {unknown}"
        return Lie(200, {"content-type": "application/json"}, json.dumps(records).encode())

    front.lie = lie

    assert cli.ok("claims", "--url", front.url).lines == [f"{web}\tweb\texclusive\t{SERVER}"]


def test_neither_debugging_nor_the_log_shows_a_ticket(cli: Cli):
    cli.create("web")

    run = cli.ok("attach", "web", "--debug", "-v")

    (ticket,) = re.findall(rf"nbd\+unix:///({TICKET})\?", run.text)
    assert _served(run.text.strip())
    assert f"/claim/{HERE} at {cli.server.url}" in run.err
    assert ticket not in run.err
    assert ticket not in cli.server.log.read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["attach", "web", "--server", "me"], "'me' is not a uuid"),
        (["detach", "web", "--server", ""], "'' is not a uuid"),
        (["attach", "web", "--qemu", "--json"], "--qemu and --json contradict each other"),
        (["attach"], "Missing argument 'DRIVE'"),
    ],
)
def test_words_that_make_no_sense_are_refused_before_anything_is_done(inside, words, sentence):
    run = inside(*words, DRIVEBAY_URL="http://127.0.0.1:1")

    assert run.status == 2
    assert sentence in run.err


def test_nbdinfo_and_qemu_img_find_the_drive_at_the_uri(cli: Cli):
    cli.create("web", "3M")
    uri = cli.ok("attach", "web").text.strip()

    info = _client("nbdinfo", "--json", uri)
    image = _client("qemu-img", "info", "--output=json", uri)

    (export,) = json.loads(info.stdout)["exports"]
    assert (export["export-size"], export["is_read_only"]) == (3 * MIB, False)
    found = json.loads(image.stdout)
    assert (found["virtual-size"], found["format"]) == (3 * MIB, "raw")


def test_what_a_server_writes_is_what_the_owner_reads_and_counts(cli: Cli, image: Path):
    size = -(-image.stat().st_size // 512) * 512
    os.truncate(image, size)
    web = cli.create("web", str(size))
    uri = cli.ok("attach", "web").text.strip()

    done = _client("nbdcopy", "--flush", str(image), uri)

    assert done.returncode == 0, done
    cli.ok("detach", "web")
    assert cli.content(web) == image.read_bytes()
    assert int(cli.info(web)["write:requests"]) > 0


@pytest.mark.parametrize("options", [[], ["--read-only"]])
def test_a_virtual_machine_takes_what_attach_prints_for_it(cli: Cli, options: list[str]):
    cli.create("web")
    words = cli.ok("attach", "web", "--qemu", *options).text.split()

    # It opens its disks and waits for the word to start; nothing is started.
    machine = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    asked = '{"execute":"qmp_capabilities"}{"execute":"query-block"}{"execute":"quit"}'
    done = _client(*machine, *words, stdin=asked)

    assert done.returncode == 0, done
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    ((disk,),) = (a["return"] for a in answers if isinstance(a.get("return"), list))
    assert disk["inserted"]["image"]["virtual-size"] == MIB
    assert disk["inserted"]["ro"] == bool(options)
