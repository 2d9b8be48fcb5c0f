"""Short histories that chance does not find each time: every error, sizes at the limits, old faults."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import drivebay
from property.fields import EVERYONE
from property.manner import Manner
from property.nouns import PIECE, Upload
from property.twin import NOWHERE
from property.twin_checks import ComparedTwin
from property.values import FORMS

DOCUMENT = Path(drivebay.__file__).parents[2] / "docs/http-api.md"

OF_THE_HEAD = {(414, "usage"), (431, "usage"), (417, "usage")}
"""What a connection refuses before there is a request; tests/wire reach them."""


@pytest.fixture
def twin(template, base, kind) -> Iterator[ComparedTwin]:
    made = ComparedTwin(template, base / f"example-{kind}", kind)
    yield made
    made.world.close()


def documented_errors() -> set[tuple[int, str]]:
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    return {(int(status), word) for listed, word in rows for status in listed.split(",")}


@pytest.mark.parametrize("kind", ["file"])
def test_every_documented_error_is_reached_and_no_other(twin):
    drive = twin.create(Manner(), {"size": "9M", "name": "web"})
    other = twin.create(Manner(), {"size": "1M", "encryption:cipher": "none"})

    twin.info(Manner("none"), drive)
    twin.destroy(Manner(method="GET"), drive)
    twin.info(Manner("bob"), drive)
    twin.info(Manner(), NOWHERE)
    twin.read(Manner(method="GET"), drive, "0", "5M")
    twin.write(Manner(), drive, None, Upload(b"", has_length=False))
    twin.write(Manner(), drive, None, Upload(bytes(9 * 2**20), sent=5 * 2**20, then="stall"))
    twin.write(Manner(), drive, "9M", Upload(b"x"))
    twin.image(Manner(), drive, other)
    twin.write(Manner(), other, None, Upload(b"x"))
    twin.set_quota(twin.users["alice"], 2, None)
    twin.create(Manner(), {"size": "1"})
    twin.lose(twin.model.drives[drive].store)
    twin.step(0)
    twin.read(Manner(method="GET"), drive, "0", "1")
    twin.odd(Manner(), "catalog", drive, "")
    twin.compare(0)

    reached = {(status, word) for _, status, word in twin.reached}
    assert reached - {(200, ""), (204, "")} == documented_errors() - OF_THE_HEAD


@pytest.mark.parametrize("kind", ["memory"])
@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_the_largest_drive_there_can_be_works_to_its_last_byte(twin, cipher):
    size = 2**63 - 1
    pairs = {"size": str(size), "encryption:cipher": cipher}

    drive = twin.create(Manner(), pairs)
    twin.create(Manner(), pairs)
    twin.set_quota(twin.users["alice"], None, size)
    twin.create(Manner(), {"size": "1"})
    twin.write(Manner(), drive, str(size - 5), Upload(b"first"))
    twin.write(Manner(), drive, str(size - 5), Upload(b"second"))
    twin.read(Manner(method="GET"), drive, str(size - 4096), "4k")
    twin.read(Manner(method="GET"), drive, str(size), "1")
    twin.read(Manner(method="GET"), drive, "9223372036854775807", "4M")
    twin.compare(0)

    assert twin.reached["drives/create", 402, "billing"] == 1
    assert twin.reached["drives/-/write/-", 507, "full"] == 1


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_failed_drive_stays_failed_when_the_next_imaging_is_cancelled_in_the_queue(twin):
    drive, other = (twin.create(Manner(), {"size": "64k"}) for _ in range(2))
    twin.image(Manner(), drive, other, "gunzip")
    twin.run_all()
    assert twin.model.record(twin.model.drives[drive], "")["imaging"] == "failed"

    twin.image(Manner(), drive, other)
    twin.cancel(Manner(), drive)

    twin.info(Manner(), drive)
    assert twin.model.record(twin.model.drives[drive], "")["status"] == "inactive"


@pytest.mark.parametrize("kind", ["file"])
@pytest.mark.parametrize("full", [False, True])
def test_the_record_of_a_drive_that_is_imaged_can_be_sent_back(twin, full):
    drive, other = (twin.create(Manner(), {"size": "9M"}) for _ in range(2))
    for offset in ("0", "4M", "8M"):
        twin.write(Manner(), other, offset, Upload(b"x"))
    twin.image(Manner(), drive, other)
    for _ in range(3):
        twin.step(0)
    record = twin.model.record(twin.model.drives[drive], twin.users["alice"].uuid, full=full)
    assert record["imaging"] == ("44%" if full else "true")

    twin.set(Manner(), drive, {key: str(value) for key, value in record.items()})

    assert twin.reached["drives/-/set", 200, ""] == 1


@pytest.mark.parametrize("kind", ["file"])
def test_input_comes_before_state_and_state_before_quota(twin):
    drive, other = (twin.create(Manner(), {"size": "64k"}) for _ in range(2))
    twin.image(Manner(), drive, other)
    twin.set_quota(twin.users["alice"], 0, 0)
    many = {f"user:{number}": "x" for number in range(101)}

    twin.create(Manner(), {"size": "1", "avoid": NOWHERE})
    twin.clone(Manner(), drive, "", {"avoid": NOWHERE})
    twin.clone(Manner(), drive, "", {})
    twin.set(Manner(), drive, {"size": "1M", **many})
    twin.set(Manner(), drive, {"size": "1M"})
    twin.set(Manner(), drive, {"name": "busy"})

    counts = {call: count for call, count in twin.reached.items() if call[1] >= 400}
    assert counts == {
        ("drives/create", 400, "usage"): 1,
        ("drives/-/clone", 400, "usage"): 1,
        ("drives/-/clone", 409, "busy"): 1,
        ("drives/-/set", 400, "usage"): 1,
        ("drives/-/set", 409, "busy"): 1,
    }


@pytest.mark.parametrize("kind", ["file"])
def test_claims_name_the_other_drive_to_those_alone_who_may_know_of_it(twin):
    source = twin.create(Manner("alice"), {"size": "1", "readers": EVERYONE})
    drive = twin.create(Manner("bob"), {"size": "1"})
    twin.image(Manner(), drive, source)

    for readers in ("", twin.users["carol"].uuid, EVERYONE):
        twin.set(Manner("bob"), drive, {"readers": readers})
        for who in twin.users:
            twin.info(Manner(who), source)
            twin.info(Manner(who), drive)
    twin.set(Manner("alice"), source, {"readers": ""})
    for who in twin.users:
        twin.info(Manner(who), source)
        twin.info(Manner(who), drive)


@pytest.mark.parametrize("kind", ["memory"])
@pytest.mark.parametrize("form", ["bad crc", "bad length", "short"])
def test_a_damaged_body_of_several_pieces_says_what_is_in_place(twin, form):
    drive = twin.create(Manner(), {"size": "16M", "encryption:cipher": "none"})
    data = b"".join(bytes([number]) * PIECE for number in (1, 2)) + b"x" * 6000

    twin.write(Manner(), drive, "1k", Upload(FORMS[form](data), "gzip"))

    twin.compare_all_content(twin.model.drives[drive])
    assert twin.model.drives[drive].content.sectors
    assert twin.reached["drives/-/write/-", 400, "usage"] == 1


@pytest.mark.parametrize("kind", ["file"])
def test_a_call_that_another_worker_made_obsolete_is_answered_anew(twin):
    drive = twin.create(Manner(worker=0), {"size": "64k"})
    for turn in range(8):
        reader, writer = Manner("bob", "GET", worker=turn % 2), Manner(worker=1 - turn % 2)
        twin.set(writer, drive, {"readers": EVERYONE if turn % 2 else ""})
        twin.info(reader, drive)
        twin.read(reader, drive, "0", "4k")
        twin.info_all(reader)
    twin.destroy(Manner(worker=1), drive)

    for manner in (Manner("alice", "GET", worker=worker) for worker in (0, 1)):
        twin.read(manner, drive, "0", "4k")


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("conversion", ["", "gzip", "gunzip"])
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_imaging_is_whole_after_a_stop_and_a_crash(twin, conversion, pieces):
    source, drive = (twin.create(Manner(), {"size": "12M"}) for _ in range(2))
    dice = random.Random(pieces)
    content = dice.randbytes(PIECE) + bytes(5000) + dice.randbytes(PIECE)
    form = "gzip stored" if conversion == "gunzip" else "plain"
    twin.write(Manner(), source, None, Upload(FORMS[form](content)))
    twin.write(Manner(), drive, None, Upload(b"before" * 2**20))
    twin.image(Manner(), drive, source, conversion)

    for is_crash in (False, True):
        for _ in range(pieces):
            if twin.may_step(0):
                twin.step(0)
        twin.restart(is_crash=is_crash)
    twin.run_all()

    assert not twin.model.jobs
    twin.compare_all_content(twin.model.drives[drive])
