"""The tree of failures, and that what they say helps and tells no secrets."""

import re
from uuid import UUID

import pytest

from drivebay import errors
from drivebay.errors import DrivebayError

SERVER = UUID("96e5dd24-6758-479d-87b6-d22b507537f0")
DRIVE = UUID("0012e24a-6eae-4279-9912-3432f698cec8")

SENTENCES = [
    (errors.InvalidInput(reason="size is missing"), "size is missing"),
    (
        errors.ReadPastEnd(drive=DRIVE, offset=5, length=10, size=12),
        f"range 5..15 reaches past the end of drive {DRIVE} at 12",
    ),
    (
        errors.NotAuthenticated(),
        "give your user uuid and API key with HTTP Basic authentication",
    ),
    (
        errors.QuotaExceeded(what="bytes", used=5, wanted=6, quota=10),
        "your quota of 10 bytes does not cover this: 5 in use and 6 more wanted",
    ),
    (errors.DriveNotFound(drive="x"), "drive x not found"),
    (
        errors.ClaimNotFound(drive=DRIVE, server=SERVER),
        f"server {SERVER} does not hold drive {DRIVE}",
    ),
    (errors.ClaimEnded(drive=DRIVE), f"the claim on drive {DRIVE} does not hold any more"),
    (errors.DriveBusy(drive=DRIVE, reason="it is imaged"), f"drive {DRIVE} is busy: it is imaged"),
    (errors.OutOfSpace(reason="too large"), "too large"),
    (
        errors.WritePastEnd(drive=DRIVE, offset=5, size=10),
        f"the write at 5 reaches past the end of drive {DRIVE} at 10; nothing was written",
    ),
    (
        errors.WritePastEnd(drive=DRIVE, offset=5, size=10, in_place=4),
        f"the write at 5 reaches past the end of drive {DRIVE} at 10; 4 bytes are in place",
    ),
    (errors.DestinationTooSmall(size=5), "the destination is too small at 5 bytes"),
    (errors.StoreFull(store="ssd"), "store ssd is full"),
    (errors.NoStoreLeft(), "no store is reachable"),
    (errors.NoStoreLeft(reason="all are avoided"), "all are avoided"),
    (errors.StorageFailed(operation="read"), "the store failed to read"),
    (errors.StorageFailed(operation="read", offset=0), "the store failed to read at offset 0"),
    (
        errors.DriveFaulted(drive=DRIVE, reason="a flush failed"),
        f"drive {DRIVE} is out of service: a flush failed",
    ),
    (errors.CatalogFailed(), "the catalog failed; the change was not made"),
    (errors.SetupFailed(reason="no key", hint="give one"), "no key"),
]


def subclasses(kind: type) -> set[type]:
    return {kind, *(one for below in kind.__subclasses__() for one in subclasses(below))}


@pytest.mark.parametrize(("failure", "sentence"), SENTENCES, ids=str)
def test_a_failure_is_a_sentence(failure, sentence):
    assert str(failure) == sentence


def test_every_failure_has_its_sentence_tested():
    tested = {type(failure) for failure, _ in SENTENCES}

    assert tested == subclasses(DrivebayError) - {DrivebayError}


def test_every_failure_has_a_code_of_its_own():
    codes = [kind.code for kind in subclasses(DrivebayError)]

    assert len(set(codes)) == len(codes)


def test_the_tree_in_the_documentation_is_the_tree():
    drawn = re.findall(r"^([│├└─ ]*)(\w+)  ", errors.__doc__.partition("\n\n")[2], re.MULTILINE)
    path: list[str] = ["DrivebayError"]
    found = set()
    for indent, name in drawn:
        depth = len(indent) // 4
        path[depth:] = [name]
        found.add((path[depth - 1], name))

    assert found == {
        (kind.__base__.__name__, kind.__name__)
        for kind in subclasses(DrivebayError) - {DrivebayError}
    }
