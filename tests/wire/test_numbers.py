"""Sizes and offsets: what counts as a number, and what happens at the edges of a drive.

The numbers in the ids are those of the list of bad inputs that this suite was made from.
"""

from urllib.parse import quote

import pytest

from wire.conftest import CONTENT
from wire.exchange import refused

SIZE = len(CONTENT)
MIB = 1024 * 1024

NOT_NUMBERS = {
    "7-minus": "-1",
    "7-plus": "+1",
    "7-exponent": "1e3",
    "7-hexadecimal": "0x10",
    "7-underscore": "1_000",
    "7-blank-in-front": "%201",
    "7-blank-behind": "1%20",
    "7-escaped-digit": "%31",
    "7-full-width-digits": quote("\uff11\uff12"),
    "7-arabic-digits": quote("\u0661\u0662"),
    "7-superscript": quote("1\u00b2"),
    "8-peta": "1P",
    "8-two-suffixes": "1kk",
    "8-suffix-alone": "k",
    "8-suffix-in-front": "k1",
    "8-suffix-with-b": "1kB",
    "9-overflow-by-suffix": "9999999999999T",
    "6-past-63-bits": str(2**63),
    "6-past-64-bits": str(2**64),
    "6-64-bits": str(2**64 - 1),
    "6-400-digits": "1" + "0" * 400,
    "10-5000-digits": "9" * 5000,
    "16-decimal-point": "0.5",
    "16-decimal-comma": "0,5",
    "7-not-a-number": "NaN",
    "7-infinity": "inf",
}


def numbers(table: dict[str, str]):
    return [pytest.param(text, id=name) for name, text in table.items()]


@pytest.mark.parametrize("text", numbers(NOT_NUMBERS))
def test_what_is_no_number_is_no_offset_and_no_size(caller, kept, text):
    for call, path in [
        ("GET", f"read/{text}/1"),
        ("GET", f"read/0/{text}"),
        ("POST", f"write/{text}"),
    ]:
        answer = caller.ask(call, f"/drives/{kept}/{path}", b"x" if call == "POST" else None)

        assert "byte count" in refused(answer, 400, "usage")


@pytest.mark.parametrize(
    "text",
    [
        *numbers({name: text for name, text in NOT_NUMBERS.items() if "%" not in text}),
        pytest.param("", id="7-empty"),
        pytest.param("1 ", id="7-blank-behind"),
        pytest.param("\uff11\uff12", id="7-full-width-digits"),
        pytest.param("\u0661", id="7-arabic-digit"),
        pytest.param("0", id="13-zero"),
        pytest.param("0T", id="13-zero-tera"),
        pytest.param("8E", id="14-exa"),
    ],
)
def test_what_is_no_number_is_no_drives_size(caller, kept, text):
    for path in ("/drives/create", f"/drives/{kept}/set"):
        assert "size" in refused(caller.ask("POST", path, f"name a\nsize {text}"), 400, "usage")


@pytest.mark.parametrize(
    "value",
    ["1.0", "1e3", "-1", "true", "null", '""', "NaN", "Infinity", "0", "[1]", '{"a": 1}'],
    ids=lambda value: f"13-{value}",
)
def test_what_is_no_number_in_json_is_no_drives_size(caller, kept, value):
    body = f'{{"name": "a", "size": {value}}}'

    answer = caller.ask("POST", "/drives/create", body, "Content-Type: application/json")

    refused(answer, 400, "usage")


def test_a_read_of_no_bytes_is_answered_and_counted_as_one_request_1(caller):
    drive = caller.create()

    assert caller.read(drive, 0, 0) == b""

    record = caller.info(drive)
    assert (record["read:requests"], record["read:bytes"]) == ("1", "0")


def test_a_read_is_at_most_4_mib_2_3(caller):
    drive = caller.create("size 8M")
    caller.write(drive, b"end", 4 * MIB - 3)

    refused(caller.ask("GET", f"/drives/{drive}/read/0/4194305"), 400, "usage")
    refused(caller.ask("GET", f"/drives/{drive}/read/0/5M"), 400, "usage")
    whole = caller.ask("GET", f"/drives/{drive}/read/0/4M")

    assert whole.status == 200
    assert whole.headers["content-length"] == str(4 * MIB)
    assert whole.body == bytes(4 * MIB - 3) + b"end"
    assert caller.info(drive)["read:bytes"] == str(4 * MIB)


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        pytest.param(SIZE, 1, id="4-at-the-end"),
        pytest.param(SIZE - 1, 2, id="5-across-the-end"),
        pytest.param(SIZE + 1, 0, id="5-nothing-behind-the-end"),
        pytest.param(0, SIZE + 1, id="5-one-too-many"),
        pytest.param(2**63 - 1, 1, id="6-largest-offset"),
        pytest.param(2**63 - 1, 2**63 - 1, id="6-sum-past-64-bits"),
    ],
)
def test_a_read_past_the_end_is_refused_and_not_counted(caller, kept, offset, size):
    before = caller.info(kept)

    answer = caller.ask("GET", f"/drives/{kept}/read/{offset}/{size}")

    refused(answer, 400, "usage")
    assert caller.info(kept) == before


def test_reads_reach_exactly_to_the_end_4(caller, kept):
    assert caller.read(kept, SIZE - 1, 1) == CONTENT[-1:]
    assert caller.read(kept, SIZE, 0) == b""


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        pytest.param(SIZE - 1, 2, id="11-across-the-end-by-one"),
        pytest.param(SIZE, 1, id="11-at-the-end"),
        pytest.param(0, SIZE + 1, id="11-one-too-many"),
        pytest.param(2**63 - 1, 1, id="6-largest-offset"),
    ],
)
def test_a_write_past_the_end_writes_nothing(caller, kept, offset, length):
    answer = caller.ask("POST", f"/drives/{kept}/write/{offset}", b"x" * length)

    assert "nothing was written" in refused(answer, 507, "full")


def test_a_write_of_no_bytes_is_answered_and_counted_as_one_request_12(caller):
    drive = caller.create()

    caller.write(drive, b"")
    caller.write(drive, b"", 65536)

    record = caller.info(drive)
    assert (record["write:requests"], record["write:bytes"]) == ("2", "0")


@pytest.mark.parametrize("size", [1, 511, 512, 4095, 4097], ids=lambda size: f"13-{size}")
def test_drives_of_any_length_are_kept_to_the_byte(caller, size):
    drive = caller.create(f"size {size}")
    caller.write(drive, b"\xff", size - 1)

    assert caller.info(drive)["size"] == str(size)
    assert caller.read(drive, 0, size) == bytes(size - 1) + b"\xff"
    refused(caller.ask("GET", f"/drives/{drive}/read/0/{size + 1}"), 400, "usage")
    refused(caller.ask("POST", f"/drives/{drive}/write/{size}", b"x"), 507, "full")


def test_a_drive_larger_than_any_file_can_be_is_507_and_leaves_no_file_14(server, caller, kept):
    stores = server.data / "stores"
    before = sorted(stores.rglob("*"))

    answer = caller.ask("POST", "/drives/create", f"size {2**63 - 1}")

    refused(answer, 507, "full")
    assert sorted(stores.rglob("*")) == before


@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
@pytest.mark.parametrize("small", [1, 5000, 8192], ids=lambda size: f"15-{size}")
def test_bytes_cut_off_by_a_smaller_size_come_back_as_zeros(caller, cipher, small):
    drive = caller.create(f"size {SIZE}\nencryption:cipher {cipher}")
    caller.write(drive, CONTENT[1:] + b"\xff")

    for size in (small, SIZE):
        answer = caller.ask("POST", f"/drives/{drive}/set", f"size {size}")
        assert answer.record["size"] == str(size)

    assert caller.read(drive, 0, SIZE) == CONTENT[1 : small + 1] + bytes(SIZE - small)


def test_a_doubled_slash_in_front_of_an_offset_does_not_count_16(caller):
    drive = caller.create()

    assert caller.ask("POST", f"/drives/{drive}/write//3", b"abc").status == 204

    assert caller.ask("GET", f"/drives/{drive}//read//0//8").body == b"\0\0\0abc\0\0"


@pytest.mark.parametrize("text", ["1k", "1K", "1m", "1M", "0001M"], ids=lambda text: f"8-{text}")
def test_suffixes_are_powers_of_1024_in_either_case(caller, text):
    record = caller.info(caller.create(f"size {text}"))

    assert int(record["size"]) == (1024 if text[-1] in "kK" else MIB)
