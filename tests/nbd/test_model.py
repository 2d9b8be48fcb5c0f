"""Requests of every kind, many in flight and cut at odd places, against plain bytes."""

import random

import pytest

from drivebay.units import MIB
from nbd.claimed import claimed
from nbd.client import FUA, Client, Request, read, status, trim, write, zeroes

SIZE = 2 * MIB + 1234
DEPTH = 64
LENGTHS = [1, 2, 511, 512, 4095, 4096, 4097, 8192, 65536, 65537, 70_000, 300_000]


class Mirror:
    """A client and what its drive holds.

    What overlaps with a change in flight has no promised order, so it waits for that to be answered.
    """

    def __init__(self, client: Client, dice: random.Random) -> None:
        self.client = client
        self.dice = dice
        self.content = bytearray(SIZE)
        self.flying: dict[int, tuple[Request, bytes]] = {}

    def step(self) -> None:
        """Send some requests in one or many packets, then take some replies."""
        data = bytearray()
        for _ in range(self.dice.randrange(1, 24)):
            request = self.made()
            while len(self.flying) >= DEPTH or not self.may_fly(request):
                self.send(data)
                data.clear()
                self.land()
            packed, (cookie,) = self.client.queue(request)
            data += packed
            self.flying[cookie] = request, self.expected(request)
        self.send(data)
        for _ in range(self.dice.randrange(len(self.flying) + 1)):
            self.land()

    def send(self, data: bytearray) -> None:
        at = 0
        while at < len(data):
            cut = self.dice.choice([1, 7, 27, 28, 29, 1000, 4096, 65_564, len(data)])
            self.client.pump(bytes(data[at : at + cut]))
            at += cut

    def made(self) -> Request:
        length = self.dice.choice(LENGTHS)
        at = self.dice.randrange(SIZE - length + 1)
        if self.dice.random() < 0.3:
            at = min(at // 4096 * 4096, SIZE - length)
        flags = FUA if self.dice.random() < 0.03 else 0
        kinds = [read, read, read, write, write, trim, zeroes]
        if self.client.structured:
            kinds.append(status)
        make = self.dice.choice(kinds)
        if make is write:
            return write(at, self.dice.randbytes(length), flags)
        return make(at, length, flags if make in {trim, zeroes} else 0)

    def may_fly(self, request: Request) -> bool:
        return all(
            (is_quiet(request) and is_quiet(other)) or not overlap(request, other)
            for other, _ in self.flying.values()
        )

    def expected(self, request: Request) -> bytes:
        """Change the content as the request will, and return what it is to be told."""
        place = slice(request.offset, request.offset + request.length)
        if not is_quiet(request):
            self.content[place] = request.data or bytes(request.length)
        return bytes(self.content[place])

    def land(self) -> None:
        cookie, reply = self.client.reply()
        request, expected = self.flying.pop(cookie)
        assert reply.error == 0, reply
        if request.command == 0:
            assert reply.data == expected
        at = 0
        for length, state in reply.extents:
            assert state in {0, 3}
            assert state == 0 or not any(expected[at : at + length])
            at += length


def is_quiet(request: Request) -> bool:
    return request.command in {0, 7}


def overlap(one: Request, other: Request) -> bool:
    return one.offset < other.offset + other.length and other.offset < one.offset + one.length


@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
@pytest.mark.parametrize("structured", [True, False])
def test_whatever_is_sent_and_however_it_is_cut_the_bytes_are_right(anywhere, structured, cipher):
    drive = claimed(anywhere, f"size {SIZE}\nencryption:cipher {cipher}")
    with drive.open(structured=structured, allocation=structured) as client:
        mirror = Mirror(client, random.Random(f"{structured} {cipher}"))
        for _ in range(250):
            mirror.step()
        while mirror.flying:
            mirror.land()
        assert client.do(read(0, SIZE))[0].data == mirror.content

    assert drive.content() == mirror.content


@pytest.mark.parametrize("structured", [True, False])
def test_thousands_of_requests_in_one_send_are_all_answered(anywhere, structured):
    drive = claimed(anywhere, "size 8M")
    with drive.open(structured=structured) as client:
        requests = [write(at * 700, at.to_bytes(2, "big") * 350) for at in range(3000)]
        data, cookies = client.queue(*requests)
        client.pump(data[:-1])
        client.pump(data[-1:])
        assert {reply.error for reply in client.replies(cookies)} == {0}
        replies = client.do(*(read(at * 700, 700) for at in range(3000)))

    assert [reply.data for reply in replies] == [request.data for request in requests]
