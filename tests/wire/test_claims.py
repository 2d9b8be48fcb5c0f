"""Claims as servers' hosts make and end them: every answer, and what a claim keeps others from."""

import json
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from uuid import uuid4

import pytest

from drivebay.units import KIB, MIB
from live import Answer, Server
from nbd.client import ACK, INFO, Connection, named
from wire.exchange import Caller, Wire, eventually, refused, request

ZEROS = "00000000-0000-0000-0000-000000000000"
EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
TICKET = re.compile("[A-Za-z0-9_-]{43}")
BAD_SERVERS = ["x", "1", "FFFFFFFF-0000-4000-8000-000000000000", "0" * 32, "%00", "..", ZEROS[:-1]]
RACERS = 20


def server_uuid() -> str:
    return str(uuid4())


def claim(caller: Caller, drive: str, holder: str, text: str | None = "") -> dict[str, str]:
    """Claim the drive, which must be granted, and return the record."""
    answer = caller.ask("POST", f"/drives/{drive}/claim/{holder}", text)
    assert answer.status == 200, answer
    return answer.record


def release(caller: Caller, drive: str, holder: str) -> None:
    answer = caller.ask("POST", f"/drives/{drive}/release/{holder}", "")
    assert (answer.status, answer.body) == (204, b""), answer


def busy(caller: Caller, path: str, body: str | bytes = "") -> str:
    """Require that a call is refused since the drive is in use; return the sentence."""
    return refused(caller.ask("POST", path, body), 409, "busy")


@pytest.fixture
def other(server: Server) -> Caller:
    """A user of the test's own."""
    return Caller(server, server.add_user())


@pytest.fixture
def reader(server: Server) -> Caller:
    """One more user."""
    return Caller(server, server.add_user())


@pytest.fixture
def holder() -> str:
    return server_uuid()


class TestAnswers:
    @pytest.mark.parametrize("body", [None, "", "claim:access write", "colour blue"])
    def test_the_owner_claims_for_writing_and_learns_where_the_drive_is(self, other, holder, body):
        drive = other.create("name web\nsize 64k")
        before = other.info(drive)

        record = claim(other, drive, holder, body)

        ticket = record.pop("claim:ticket")
        assert TICKET.fullmatch(ticket)
        assert record.pop("nbd") == f"nbd+unix:///{ticket}?socket={other.server.data}/nbd.sock"
        assert record.pop("claim:access") == "write"
        assert record == {key: value for key, value in before.items() if "store" not in key} | {
            "claimed": holder
        }
        assert other.info(drive) == before | {"claimed": holder}

    def test_json_goes_in_and_comes_out(self, other, holder):
        drive = other.create()
        body = json.dumps({"claim:access": "read"})

        answer = other.ask(
            *("POST", f"/drives/{drive}/claim/{holder}", body),
            *("Content-Type: application/json", "Accept: application/json"),
        )

        assert answer.status == 200, answer
        assert answer.headers["content-type"] == "application/json"
        record = json.loads(answer.body)
        assert TICKET.fullmatch(record["claim:ticket"])
        assert (record["claim:access"], record["claimed"], record["size"]) == (
            *("read", holder, 64 * KIB),
        )

    def test_release_leaves_the_drive_as_it_was(self, other, holder):
        drive = other.create()
        other.write(drive, b"before")
        before = other.info(drive)
        claim(other, drive, holder)

        release(other, drive, holder)

        assert other.info(drive) == before
        other.write(drive, b"after")
        assert other.ask("POST", f"/drives/{drive}/set", "size 128k").status == 200
        assert other.ask("POST", f"/drives/{drive}/destroy", "").status == 204

    def test_a_server_claims_again_and_gets_another_ticket(self, other, holder):
        drive = other.create()

        tickets = {claim(other, drive, holder)["claim:ticket"] for _ in range(5)}

        assert len(tickets) == 5
        assert other.info(drive)["claimed"] == holder

    def test_the_access_of_a_claim_may_change_when_it_is_made_again(self, other, holder):
        drive = other.create()

        found = [
            claim(other, drive, holder, f"claim:access {word}")["claim:access"]
            for word in ("write", "read", "write")
        ]

        assert found == ["write", "read", "write"]

    def test_many_servers_hold_a_shared_drive_oldest_first(self, other):
        drive = other.create("size 64k\nclaim:type shared")
        holders = [server_uuid() for _ in range(5)]

        for holder in holders:
            claim(other, drive, holder)
        release(other, drive, holders[2])

        assert other.info(drive)["claimed"] == " ".join(holders[:2] + holders[3:])

    def test_one_server_holds_many_drives(self, other, holder):
        drives = [other.create() for _ in range(3)]

        for drive in drives:
            claim(other, drive, holder)

        assert {other.info(drive)["claimed"] for drive in drives} == {holder}

    def test_a_readers_claim_is_for_reading_and_the_reader_may_end_it(self, other, reader, holder):
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {reader.user[0]}")

        record = claim(reader, drive, holder)

        assert (record["claim:access"], record["claimed"]) == ("read", holder)
        release(reader, drive, holder)
        assert "claimed" not in other.info(drive)

    def test_everyone_may_claim_what_everyone_may_read(self, other, reader, holder):
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {EVERYONE}")

        assert claim(reader, drive, holder, "claim:access read")["claim:access"] == "read"


class TestRefusals:
    @pytest.mark.parametrize("call", ["claim", "release"])
    @pytest.mark.parametrize("text", BAD_SERVERS)
    def test_a_server_that_is_no_uuid_is_refused(self, other, call, text):
        drive = other.create()

        answer = other.ask("POST", f"/drives/{drive}/{call}/{text}", "")

        if answer.status != 404:  # Some of them are paths of another shape.
            refused(answer, 400, "usage")
        assert "claimed" not in other.info(drive)

    @pytest.mark.parametrize(
        "body", ["claim:access", "claim:access rw", "claim:access WRITE", "\x01", b"\xff"]
    )
    def test_a_body_that_cannot_be_taken_is_refused(self, other, holder, body):
        drive = other.create()

        answer = other.ask("POST", f"/drives/{drive}/claim/{holder}", body)

        refused(answer, 400, "usage")
        assert "claimed" not in other.info(drive)

    @pytest.mark.parametrize("call", ["claim", "release"])
    def test_get_is_not_how_one_claims(self, other, holder, call):
        drive = other.create()

        answer = other.ask("GET", f"/drives/{drive}/{call}/{holder}")

        refused(answer, 405, "method")
        assert "claimed" not in other.info(drive)

    @pytest.mark.parametrize(
        ("call", "body"),
        [
            *(("claim", body) for body in ("", "claim:access read", "claim:access x", b"\xff")),
            *(("release", body) for body in ("", "x")),
        ],
    )
    @pytest.mark.parametrize("name", ["x", server_uuid()])
    def test_a_stranger_is_answered_byte_for_byte_as_for_a_missing_drive(
        self, other, stranger, holder, call, body, name
    ):
        drive, nowhere = other.create("size 64k\nclaim:type shared"), server_uuid()
        claim(other, drive, holder)
        for target in {name, holder}:
            there, missing = (
                stranger.ask("POST", f"/drives/{uuid}/{call}/{target}", body)
                for uuid in (drive, nowhere)
            )

            refused(there, 404, "missing")
            assert there.body.replace(drive.encode(), nowhere.encode()) == missing.body
            assert there.headers | {"date": ""} == missing.headers | {"date": ""}
        assert other.info(drive)["claimed"] == holder

    def test_a_reader_cannot_claim_an_exclusive_drive(self, other, reader, holder):
        drive = other.create(f"size 64k\nreaders {reader.user[0]}")

        for text in ("", "claim:access read"):
            sentence = busy(reader, f"/drives/{drive}/claim/{holder}", text)

            assert "exclusive" in sentence
        assert "claimed" not in other.info(drive)

    @pytest.mark.parametrize("kind", ["exclusive", "shared"])
    def test_a_reader_cannot_claim_for_writing(self, other, reader, holder, kind):
        drive = other.create(f"size 64k\nclaim:type {kind}\nreaders {reader.user[0]}")

        answer = reader.ask("POST", f"/drives/{drive}/claim/{holder}", "claim:access write")

        refused(answer, 404, "missing")
        assert "claimed" not in other.info(drive)

    def test_a_second_server_cannot_claim_an_exclusive_drive(self, other, holder):
        drive = other.create()
        ticket = claim(other, drive, holder)["claim:ticket"]

        for access in ("", "claim:access read", "claim:access write"):
            sentence = busy(other, f"/drives/{drive}/claim/{server_uuid()}", access)

            assert holder in sentence
            assert ticket not in sentence
        assert other.info(drive)["claimed"] == holder

    def test_a_server_that_holds_it_by_another_users_claim_is_busy(self, other, reader, holder):
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {EVERYONE}")
        third = Caller(other.server, other.server.add_user())
        claim(reader, drive, holder)

        busy(third, f"/drives/{drive}/claim/{holder}")
        assert claim(other, drive, holder)["claim:access"] == "write"
        busy(reader, f"/drives/{drive}/claim/{holder}")

    @pytest.mark.parametrize("access", ["read", "write"])
    def test_a_drive_that_is_being_imaged_is_not_claimed(self, other, holder, access):
        source, drive = other.create("size 1M"), other.create("size 1M")
        with other.server.stopped("jobs"):
            assert other.ask("POST", f"/drives/{drive}/image/{source}", "").status == 204

            busy(other, f"/drives/{drive}/claim/{holder}", f"claim:access {access}")
        eventually(lambda: "imaging" not in other.info(drive))
        claim(other, drive, holder, f"claim:access {access}")

    def test_the_source_of_an_imaging_is_claimed_for_reading_alone(self, other, holder):
        source, drive = other.create("size 1M"), other.create("size 1M")
        with other.server.stopped("jobs"):
            assert other.ask("POST", f"/drives/{drive}/image/{source}", "").status == 204

            busy(other, f"/drives/{source}/claim/{holder}")
            record = claim(other, source, holder, "claim:access read")
            assert record["claimed"] == f"{holder} {drive}"
        eventually(lambda: "imaging" not in other.info(drive))

    @pytest.mark.parametrize("access", ["read", "write"])
    def test_a_drive_whose_imaging_failed_is_not_claimed(self, other, holder, access):
        source, drive = other.create("size 64k"), other.create("size 64k")
        assert other.ask("POST", f"/drives/{drive}/image/{source}/gunzip", "").status == 204
        eventually(lambda: other.info(drive).get("imaging") == "failed")

        answer = other.ask("POST", f"/drives/{drive}/claim/{holder}", f"claim:access {access}")

        refused(answer, 500, "failed")
        assert "claimed" not in other.info(drive)

    @pytest.mark.parametrize("access", ["read", "write"])
    def test_a_drive_whose_volume_is_gone_is_not_claimed(self, other, holder, access):
        drive = other.create("size 64k")
        volume = other.server.data / "stores/default" / f"{drive}.volume"
        volume.rename(volume.with_suffix(".away"))
        try:
            answer = other.ask("POST", f"/drives/{drive}/claim/{holder}", f"claim:access {access}")
        finally:
            volume.with_suffix(".away").rename(volume)

        refused(answer, 500, "failed")
        assert "claimed" not in other.info(drive)

    def test_what_is_not_held_is_not_released(self, other, holder):
        drive, elsewhere = other.create(), other.create()
        claim(other, elsewhere, holder)

        refused(other.ask("POST", f"/drives/{drive}/release/{holder}", ""), 404, "missing")
        release(other, elsewhere, holder)
        refused(other.ask("POST", f"/drives/{elsewhere}/release/{holder}", ""), 404, "missing")

    def test_a_reader_does_not_end_anothers_claim_and_does_not_learn_of_it(self, other, reader):
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {EVERYONE}")
        third = Caller(other.server, other.server.add_user())
        holders = [server_uuid() for _ in range(2)]
        claim(other, drive, holders[0])
        claim(third, drive, holders[1])
        free = server_uuid()

        answers = [
            reader.ask("POST", f"/drives/{drive}/release/{holder}", "").text.replace(holder, "")
            for holder in (*holders, free)
        ]

        assert len(set(answers)) == 1
        assert other.info(drive)["claimed"] == " ".join(holders)

    def test_the_owner_ends_a_readers_claim(self, other, reader, holder):
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {reader.user[0]}")
        claim(reader, drive, holder)

        release(other, drive, holder)

        assert "claimed" not in other.info(drive)
        refused(reader.ask("POST", f"/drives/{drive}/release/{holder}", ""), 404, "missing")

    def test_no_more_servers_than_the_limit_hold_a_drive(self, other):
        drive = other.create("size 64k\nclaim:type shared")
        holders = [server_uuid() for _ in range(256)]
        for holder in holders:
            claim(other, drive, holder, "claim:access read")

        busy(other, f"/drives/{drive}/claim/{server_uuid()}")
        claim(other, drive, holders[0])
        release(other, drive, holders[1])
        claim(other, drive, server_uuid())


class TestWhatIsKeptOff:
    """A claim refuses what would change a drive under its server."""

    @pytest.mark.parametrize("access", ["read", "write"])
    def test_an_exclusive_claim_keeps_writes_over_http_off(self, other, holder, access):
        drive = other.create()
        claim(other, drive, holder, f"claim:access {access}")

        for body in (b"x", b"", os.urandom(64 * KIB)):
            sentence = busy(other, f"/drives/{drive}/write/0", body)

            assert holder in sentence
        assert other.read(drive, 0, 64 * KIB) == bytes(64 * KIB)
        release(other, drive, holder)
        other.write(drive, b"x")

    @pytest.mark.parametrize("access", ["read", "write"])
    def test_a_shared_claim_lets_writes_over_http_pass(self, other, holder, access):
        drive = other.create("size 64k\nclaim:type shared")
        claim(other, drive, holder, f"claim:access {access}")

        other.write(drive, b"shared")

        assert other.read(drive, 0, 6) == b"shared"

    @pytest.mark.parametrize("kind", ["exclusive", "shared"])
    @pytest.mark.parametrize("access", ["read", "write"])
    @pytest.mark.parametrize("call", ["set size 128k", "set size 32k", "destroy", "image"])
    def test_any_claim_keeps_off_what_changes_the_drive_as_a_whole(
        self, other, holder, kind, access, call
    ):
        drive, source = other.create(f"size 64k\nclaim:type {kind}"), other.create()
        claim(other, drive, holder, f"claim:access {access}")
        before = other.state(drive)
        name, _, body = call.partition(" ")
        path = f"image/{source}" if name == "image" else name

        sentence = busy(other, f"/drives/{drive}/{path}", body)

        assert holder in sentence
        assert other.state(drive) == before
        release(other, drive, holder)
        assert other.ask("POST", f"/drives/{drive}/{path}", body).status in {200, 204}

    @pytest.mark.parametrize("kind", ["exclusive", "shared"])
    @pytest.mark.parametrize("call", ["image", "image gzip", "clone", "clone gzip"])
    def test_no_image_is_taken_from_what_a_server_writes_to(self, other, holder, kind, call):
        drive, onto = other.create(f"size 64k\nclaim:type {kind}"), other.create("size 1M")
        name, _, conversion = call.partition(" ")
        path = f"/drives/{onto}/image/{drive}" if name == "image" else f"/drives/{drive}/clone"
        path += f"/{conversion}" if conversion else ""
        count = len(other.state(drive)[0])
        claim(other, drive, holder)

        busy(other, path)

        assert len(other.state(drive)[0]) == count
        claim(other, drive, holder, "claim:access read")
        assert other.ask("POST", path, "").status in {200, 204}

    def test_info_and_read_go_on(self, other, reader, holder):
        drive = other.create(f"size 64k\nreaders {reader.user[0]}")
        other.write(drive, b"content")
        claim(other, drive, holder)

        assert reader.read(drive, 0, 7) == other.read(drive, 0, 7) == b"content"
        assert holder in other.ask("GET", "/drives/info").text
        assert other.ask("POST", f"/drives/{drive}/set", "name new\nsize 64k").status == 200
        assert other.info(drive)["name"] == "new"

    def test_a_write_over_http_that_has_begun_ends_before_an_exclusive_claim(self, other, holder):
        drive = other.create("size 8M")
        with Wire(other.server) as wire, ThreadPoolExecutor() as pool:
            whole = request("POST", f"/drives/{drive}/write", b"x" * (6 * MIB), user=other.user)
            wire.send(whole[:-MIB])
            eventually(lambda: other.read(drive, 4 * MIB - 1, 1) == b"x")
            made = pool.submit(claim, other, drive, holder)
            made.result()
            wire.send(whole[-MIB:])

            answer = wire.answer()

        assert answer.status in {204, 409}, answer
        is_whole = answer.status == 204
        assert other.read(drive, 4 * MIB, 1) == (b"x" if is_whole else b"\0")


class TestWhoKnowsWhat:
    def test_only_the_owner_and_the_holder_learn_which_server_it_is(self, other, reader):
        third = Caller(other.server, other.server.add_user())
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {EVERYONE}")
        mine, theirs = server_uuid(), server_uuid()
        claim(other, drive, mine)
        claim(reader, drive, theirs)

        shown = [caller.info(drive)["claimed"] for caller in (other, reader, third)]

        assert shown == [f"{mine} {theirs}", f"{ZEROS} {theirs}", ZEROS]

    def test_a_record_that_is_sent_back_with_its_claims_changes_nothing(self, other, holder):
        drive = other.create("size 64k\nclaim:type shared")
        claim(other, drive, holder)
        record = other.info(drive)
        body = "".join(f"{key} {value}\n" for key, value in record.items())

        assert other.ask("POST", f"/drives/{drive}/set", body).status == 200

        assert other.info(drive) == record
        answer = other.ask("POST", f"/drives/{drive}/set", f"claimed {server_uuid()}")
        refused(answer, 400, "usage")

    def test_a_ticket_is_nowhere_in_plain(self, make_server, holder):
        server = make_server(options=["--log-level", "debug"])
        other = Caller(server, server.add_user())
        drive = other.create()
        tickets = [claim(other, drive, holder)["claim:ticket"] for _ in range(3)]

        for path in [server.log, *server.base.rglob("*")]:
            if path.is_file():
                content = path.read_bytes()
                for ticket in tickets:
                    assert ticket.encode() not in content, path


class TestSetOnClaimedDrives:
    def test_a_drive_that_servers_share_does_not_become_exclusive(self, other):
        drive = other.create("size 64k\nclaim:type shared")
        holders = [server_uuid() for _ in range(2)]
        for holder in holders:
            claim(other, drive, holder)

        busy(other, f"/drives/{drive}/set", "claim:type exclusive\nname new")
        assert (other.info(drive)["claim:type"], other.info(drive)["name"]) == ("shared", "")
        release(other, drive, holders[0])

        assert other.ask("POST", f"/drives/{drive}/set", "claim:type exclusive").status == 200
        busy(other, f"/drives/{drive}/write", b"x")
        busy(other, f"/drives/{drive}/claim/{holders[0]}")

    def test_a_drive_that_a_reader_holds_does_not_become_exclusive(self, other, reader, holder):
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {EVERYONE}")
        claim(reader, drive, holder)

        busy(other, f"/drives/{drive}/set", "claim:type exclusive")

    def test_an_exclusive_drive_that_becomes_shared_takes_writes_and_more_servers(self, other):
        drive = other.create()
        first, second = server_uuid(), server_uuid()
        claim(other, drive, first)

        assert other.ask("POST", f"/drives/{drive}/set", "claim:type shared").status == 200

        claim(other, drive, second)
        other.write(drive, b"x")
        assert other.info(drive)["claimed"] == f"{first} {second}"

    def test_the_claims_of_readers_end_when_they_are_readers_no_more(self, other, reader):
        third = Caller(other.server, other.server.add_user())
        names = f"{reader.user[0]} {third.user[0]}"
        drive = other.create(f"size 64k\nclaim:type shared\nreaders {names}")
        mine, kept, ended = (server_uuid() for _ in range(3))
        for caller, holder in ((other, mine), (reader, kept), (third, ended)):
            claim(caller, drive, holder)

        assert other.ask("POST", f"/drives/{drive}/set", f"readers {reader.user[0]}").status == 200

        assert other.info(drive)["claimed"] == f"{mine} {kept}"
        assert other.ask("POST", f"/drives/{drive}/set", "readers").status == 200
        assert other.info(drive)["claimed"] == mine


class TestRestart:
    @pytest.mark.parametrize("end", ["stop", "kill"])
    def test_claims_outlive_the_service_and_tickets_with_them(self, make_server, end):
        server = make_server()
        other = Caller(server, server.add_user())
        drive = other.create("size 64k\nclaim:type shared")
        holders = [server_uuid() for _ in range(2)]
        tickets = [claim(other, drive, holder)["claim:ticket"] for holder in holders]
        getattr(server, end)()

        server.start()

        assert other.info(drive)["claimed"] == " ".join(holders)
        assert opens(server, tickets[0])
        assert not opens(server, tickets[0][:-1] + "!")
        release(other, drive, holders[0])
        assert [opens(server, ticket) for ticket in tickets] == [False, True]

    def test_a_claim_that_is_renewed_leaves_the_old_ticket_dead(self, other, holder):
        drive = other.create()
        old = claim(other, drive, holder)["claim:ticket"]
        assert opens(other.server, old)

        new = claim(other, drive, holder)["claim:ticket"]

        assert (opens(other.server, old), opens(other.server, new)) == (False, True)


def opens(server: Server, ticket: str) -> bool:
    """Whether an NBD client that names *ticket* is let in."""
    with Connection(f"nbd+unix:///{ticket}?socket={server.data}/nbd.sock") as connection:
        return connection.greet().ask(INFO, named(ticket))[-1][0] == ACK


class TestRaces:
    def test_of_twenty_servers_that_claim_at_once_one_holds_the_drive_500_times(self, other):
        drive = other.create()
        together = threading.Barrier(RACERS, timeout=60)
        holders = [server_uuid() for _ in range(RACERS)]
        rounds: list[list[int]] = [[] for _ in range(500)]

        def race(number: int) -> None:
            claim_it = request("POST", f"/drives/{drive}/claim/{holders[number]}", "", user=user)
            end_it = request("POST", f"/drives/{drive}/release/{holders[number]}", "", user=user)
            with Wire(other.server) as wire:
                for statuses in rounds:
                    together.wait()
                    status = wire.send(claim_it).answer().status
                    statuses.append(status)
                    together.wait()
                    if status == 200:
                        assert wire.send(end_it).answer().status == 204

        user = other.user
        with ThreadPoolExecutor(RACERS) as pool:
            for ended in [pool.submit(race, number) for number in range(RACERS)]:
                ended.result()

        expected = [200] + [409] * (RACERS - 1)
        assert [sorted(statuses) for statuses in rounds] == [expected] * 500
        assert "claimed" not in other.info(drive)

    def test_a_server_that_claims_twenty_times_at_once_is_left_with_one_ticket(self, other, holder):
        drive = other.create()

        answers = raced([lambda: ask(other, f"/drives/{drive}/claim/{holder}")] * RACERS)

        assert {answer.status for answer in answers} <= {200, 409}
        tickets = [answer.record["claim:ticket"] for answer in answers if answer.status == 200]
        assert sum(opens(other.server, ticket) for ticket in tickets) == 1
        assert other.info(drive)["claimed"] == holder

    @pytest.mark.parametrize("call", ["destroy", "set", "image", "write", "clone", "exclusive"])
    def test_a_claim_that_meets_another_change_comes_before_or_after_it(self, other, call):
        source = other.create()
        kind = "shared" if call == "exclusive" else "exclusive"
        seen = set()
        # An imaging that is over when the claim comes would stand in nobody's way.
        imaging = other.server.stopped("jobs") if call in {"image", "clone"} else nullcontext()
        with imaging:
            for turn in range(25):
                drive, holder = other.create(f"size 64k\nclaim:type {kind}"), server_uuid()
                path, body = {
                    "destroy": (f"/drives/{drive}/destroy", ""),
                    "set": (f"/drives/{drive}/set", "size 128k"),
                    "image": (f"/drives/{drive}/image/{source}", ""),
                    "write": (f"/drives/{drive}/write", b"x" * 4096),
                    "clone": (f"/drives/{drive}/clone", ""),
                    "exclusive": (f"/drives/{drive}/set", "claim:type exclusive"),
                }[call]
                first, second = (
                    lambda drive=drive, holder=holder: ask(
                        other, f"/drives/{drive}/claim/{holder}"
                    ),
                    lambda path=path, body=body: ask(other, path, body),
                )
                pair = raced([first, second] if turn % 2 else [second, first])
                claimed, changed = pair if turn % 2 else pair[::-1]

                seen.add((claimed.status, changed.status))
                if claimed.status == 200:
                    assert holder in other.info(drive)["claimed"]
                    assert (call, changed.status) not in {("image", 204), ("clone", 200)}
                if call == "destroy":
                    assert (claimed.status == 200) != (changed.status == 204)
        assert seen <= {(200, 200), (200, 204), (200, 409), (409, 200), (409, 204), (404, 204)}


def ask(caller: Caller, path: str, body: str | bytes = "") -> Answer:
    with Wire(caller.server) as wire:
        return wire.ask("POST", path, body, user=caller.user)


def raced(calls: list[Callable[[], Answer]]) -> list[Answer]:
    """Make all calls at the same moment, and return the answers."""
    together = threading.Barrier(len(calls), timeout=60)

    def one(call: Callable[[], Answer]) -> Answer:
        together.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))
