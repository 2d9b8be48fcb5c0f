"""The state machine: histories of calls by several users, with workers, runners and an operator."""

import faulthandler
import gc
import itertools
import sys
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from property import values
from property.fields import EVERYONE, Refused
from property.manner import Manner, spelled
from property.model import Model
from property.nouns import PIECE, Upload
from property.streams import MAGIC
from property.twin import NOWHERE
from property.twin_checks import HIDDEN, ODD, ComparedTwin
from property.world import STORES, Template

DRIVES_MAX = 7
HANG_S = 300
_FOR_READERS = {"info", "read", "clone", "claim", "release"}
_MALFORMED = ["nonsense", NOWHERE.upper(), NOWHERE[:-1], "%61" + NOWHERE[1:], "list", "..", "*"]

targets = st.integers(0, 119)
"""Names a drive: most numbers one that there is, the last few one that there is not."""

runners = st.integers(0, 1)
users = st.sampled_from(["alice", "bob", "carol"])


class Api(RuleBasedStateMachine):
    """Whatever is called, in whatever order: the service answers as the model says."""

    template: Template
    base: Path
    kind: str
    reached: Counter[tuple[str, int, str]]
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        # The guard against a hang begins anew, so that it does not end the shrinking of a failure.
        # Run pytest with -s to see what it prints.
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        self.twin = ComparedTwin(self.template, self.base / f"{next(self.numbers)}", self.kind)
        self.turn = 0
        self.gone: list[str] = []

    @property
    def model(self) -> Model:
        return self.twin.model

    def drive(self, which: int) -> str:
        """Return the drive that *which* names."""
        living = list(self.model.drives)
        if which >= 117 or not living:
            return _MALFORMED[which % len(_MALFORMED)]
        if which == 116 and self.gone:
            return self.gone[-1]
        return NOWHERE if which == 115 else living[which % len(living)]

    def source(self, which: int, drive: str, conversion: str) -> str:
        """Return the drive of *which*: mostly another one, and one whose imaging can succeed."""
        drives = self.model.drives
        others = [uuid for uuid in drives if uuid != drive]
        if which >= 110 or not others:
            return self.drive(which)
        fitting = others
        if conversion == "gunzip":
            fitting = [uuid for uuid in others if drives[uuid].content.head(2) == MAGIC]
        elif conversion == "" and drive in drives:
            fitting = [uuid for uuid in others if drives[uuid].size <= drives[drive].size]
        found = fitting if fitting and which < 95 else others
        return found[which % len(found)]

    def resolved(self, pairs: dict[str, str]) -> dict[str, str]:
        """Put users' uuids in the place of their names in braces."""
        names = {name: user.uuid for name, user in self.twin.users.items()}
        names |= {"dave": self.twin.disabled.uuid, "everyone": EVERYONE}
        return {
            key: value.format(**names) if "{" in value else value for key, value in pairs.items()
        }

    def spoiled(self, pairs: dict[str, str], odd: object) -> dict[str, str]:
        """Put a pair that cannot be taken into *pairs*, if *odd* is one."""
        return self.resolved(pairs | {odd[0]: odd[1]} if isinstance(odd, tuple) else pairs)

    def odd_body(self, manner: Manner, odd: object) -> bytes | None:
        """Return a body that cannot be read, if that is what *odd* says."""
        bodies = values.BAD_JSON if manner.json_in else values.BAD_TEXTS
        return manner.rolled("odd").choice(bodies) if odd == "body" else None

    def place(self, drive: str, place: tuple[str, int], length: int) -> int:
        """Return the offset that *place* means for *length* bytes."""
        size = self.model.drives[drive].size if drive in self.model.drives else 4096
        base, delta = place
        offsets = {
            "start": delta,
            "middle": size // 2 + delta,
            "fit": size - length - delta,
            "end": size - delta,
            "over": size - length + 1 + delta,
        }
        return max(0, offsets[base])

    def repeated(self, content: bytes, length: int) -> bytes:
        """Return *content* again and again, *length* bytes of it, with a hole behind each time."""
        unit = content + bytes(20000)
        return (unit * (length // len(unit) + 1))[:length]

    @initialize(
        first=values.sizes,
        second=values.sizes,
        third=values.sizes,
        stuff=values.plain,
        stream=values.gzip_streams,
    )
    def begin_with_some_drives(self, first, second, third, stuff, stream):
        for who, size, pairs in (
            ("alice", first, {"user:note": "one"}),
            ("alice", second, {"encryption:cipher": "none"}),
            ("bob", third, {"readers": EVERYONE}),
        ):
            self.twin.create(Manner(who), pairs | {"size": str(size)})
        for drive, made in zip(list(self.model.drives), (stuff, stream, stuff), strict=True):
            content = self.repeated(made.made(), self.model.drives[drive].size)
            self.twin.write(Manner(), drive, None, Upload(content))

    @precondition(lambda self: len(self.model.drives) < DRIVES_MAX)
    @rule(
        manner=values.manners(),
        size=values.sizes,
        fields=values.fields,
        more=values.create_fields,
        avoid=st.one_of(st.just([]), st.lists(targets, max_size=2)),
        odd=values.oddities,
    )
    def create(self, manner, size, fields, more, avoid, odd):
        pairs = {"size": spelled(size, manner.rolled("size")), **fields, **more}
        if avoid:
            pairs["avoid"] = " ".join(map(self.drive, avoid))
        self.twin.create(manner, self.spoiled(pairs, odd), body=self.odd_body(manner, odd))

    @rule(manner=values.manners(), which=targets, fields=values.fields, odd=values.oddities)
    def set(self, manner, which, fields, odd):
        pairs = self.spoiled(fields, odd)
        self.twin.set(manner, self.drive(which), pairs, body=self.odd_body(manner, odd))

    @rule(manner=values.manners(), which=targets, size=values.sizes, fields=values.fields)
    def resize(self, manner, which, size, fields):
        pairs = {"size": spelled(size, manner.rolled("size")), **self.resolved(fields)}
        self.twin.set(manner, self.drive(which), pairs)

    @rule(manner=values.manners(), which=targets, full=st.booleans())
    def send_the_record_back(self, manner, which, full):
        drive = self.drive(which)
        if drive in self.model.drives:
            user = self.twin.user(manner, drive).uuid
            record = self.model.record(self.model.drives[drive], user, full=full)
            self.twin.set(manner, drive, {key: str(value) for key, value in record.items()})

    @rule(manner=values.manners(), which=targets)
    def destroy(self, manner, which):
        drive = self.drive(which)
        self.twin.destroy(manner, drive)
        if drive not in self.model.drives:
            self.gone.append(drive)

    @rule(
        manner=values.manners(),
        which=targets,
        place=values.places,
        stuff=st.one_of(values.plain, values.plain, values.gzip_streams),
        packing=values.packings,
        fit=st.sampled_from(["cut", "cut", "cut", "fill", "fill", "none"]),
    )
    def write(self, manner, which, place, stuff, packing, fit):
        drive, content = self.drive(which), stuff.made()
        offset = self.place(drive, place, len(content))
        if fit != "none" and drive in self.model.drives and place[0] != "over":
            offset = min(offset, self.model.drives[drive].size)
            room = self.model.drives[drive].size - offset
            content = self.repeated(content, room) if fit == "fill" else content[:room]
        at = spelled(offset, manner.rolled("offset"))
        self.twin.write(manner, drive, at, packing.upload(content))

    @rule(
        manner=values.manners(),
        which=targets,
        stuff=st.one_of(values.large, values.large, values.gzip_streams),
        packing=values.packings,
    )
    def write_from_the_start(self, manner, which, stuff, packing):
        self.twin.write(manner, self.drive(which), None, packing.upload(stuff.made()))

    @rule(
        manner=values.reading(),
        which=targets,
        place=values.places,
        length=st.sampled_from([0, 1, 100, 4096, 5000, 65536, 2**20, PIECE, PIECE + 1]),
        is_fitting=st.sampled_from([True] * 7 + [False]),
    )
    def read(self, manner, which, place, length, is_fitting):
        drive = self.drive(which)
        offset = self.place(drive, place, length)
        if is_fitting and drive in self.model.drives:
            offset = min(offset, self.model.drives[drive].size)
            length = min(length, self.model.drives[drive].size - offset)
        dice = manner.rolled("numbers")
        self.twin.read(manner, drive, spelled(offset, dice), spelled(length, dice))

    @rule(
        manner=values.manners(),
        which=targets,
        source=targets,
        conversion=values.conversions,
        runner=runners,
        pieces=st.integers(0, 3),
    )
    def image_and_begin(self, manner, which, source, conversion, runner, pieces):
        drive = self.drive(which)
        self.twin.image(manner, drive, self.source(source, drive, conversion), conversion)
        self.run_some_pieces(runner, pieces)

    @rule(
        manner=values.manners(),
        which=targets,
        source=targets,
        conversion=values.conversions,
        runner=runners,
    )
    def image_to_the_end(self, manner, which, source, conversion, runner):
        drive = self.drive(which)
        self.twin.image(manner, drive, self.source(source, drive, conversion), conversion)
        while self.twin.may_step(runner):
            self.twin.step(runner)

    @rule(
        which=targets,
        source=targets,
        conversion=values.conversions,
        pieces=st.integers(1, 4),
        is_crash=st.booleans(),
    )
    def image_over_a_restart(self, which, source, conversion, pieces, is_crash):
        drive = self.drive(which)
        self.twin.image(Manner(), drive, self.source(source, drive, conversion), conversion)
        self.run_some_pieces(0, pieces)
        self.twin.restart(is_crash=is_crash)
        self.run_some_pieces(1, pieces)

    @precondition(lambda self: len(self.model.drives) < DRIVES_MAX)
    @rule(
        manner=values.manners(),
        source=targets,
        conversion=values.conversions,
        size=st.one_of(st.none(), values.sizes),
        fields=values.fields,
        odd=values.oddities,
    )
    def clone(self, manner, source, conversion, size, fields, odd):
        pairs = fields if size is None else fields | {"size": str(size)}
        origin = self.source(source, "", conversion)
        body = self.odd_body(manner, odd)
        self.twin.clone(manner, origin, conversion, self.spoiled(pairs, odd), body=body)

    @precondition(lambda self: self.model.jobs)
    @rule(manner=values.manners(), which=targets, is_sure=st.sampled_from([True, True, False]))
    def cancel(self, manner, which, is_sure):
        jobs = self.model.jobs
        drive = jobs[which % len(jobs)].drive.uuid if is_sure else self.drive(which)
        self.twin.cancel(manner, drive)

    @rule(
        manner=values.manners(),
        which=targets,
        server=values.servers,
        access=st.sampled_from([{}] * 6 + [{"claim:access": "read"}] * 4 + values.CLAIMS),
        odd=values.oddities,
    )
    def claim(self, manner, which, server, access, odd):
        body = self.odd_body(manner, odd)
        self.twin.claim(manner, self.drive(which), server, access, body=body)

    @rule(manner=values.manners(), which=targets, server=values.servers)
    def release(self, manner, which, server):
        self.twin.release(manner, self.drive(which), server)

    @precondition(lambda self: any(drive.claims for drive in self.model.drives.values()))
    @rule(manner=values.manners(), which=targets, all_of_it=st.booleans())
    def release_what_is_held(self, manner, which, all_of_it):
        held = [drive for drive in self.model.drives.values() if drive.claims]
        drive = held[which % len(held)]
        for claim in drive.claims[: None if all_of_it else 1]:
            self.twin.release(manner, drive.uuid, claim.server)

    @precondition(lambda self: self.twin.may_step(0) or self.twin.may_step(1))
    @rule(runner=runners, pieces=st.integers(1, 5))
    def run_some_pieces(self, runner, pieces):
        for _ in range(pieces):
            if self.twin.may_step(runner):
                self.twin.step(runner)

    @rule(manner=values.reading(), which=targets, what=st.integers(0, 4))
    def list_and_info(self, manner, which, what):
        if what < 2:
            self.twin.info(manner, self.drive(which), full=what == 0)
        else:
            self.twin.list(manner, standard=what == 2)
            self.twin.info_all(manner, standard=what == 2, full=what == 3)

    @rule(which=targets, who=users, call=st.sampled_from(HIDDEN), is_json=st.booleans())
    def look_at_what_is_hidden(self, which, who, call, is_json):
        drive, user = self.drive(which), self.twin.users[who]
        is_for_readers = call.partition("/")[0] in _FOR_READERS
        find = self.model.readable if is_for_readers else self.model.owned
        try:
            find(user.uuid, drive)
        except Refused:
            self.twin.require_hidden(user, drive, call, is_json=is_json)

    @rule(
        manner=values.manners(wrong_methods=("GET", "DELETE", "HEAD")),
        what=st.sampled_from(ODD),
        which=targets,
        number=st.sampled_from([*values.BAD_NUMBERS, "%31"]),
    )
    def do_something_odd(self, manner, what, which, number):
        self.twin.odd(manner, what, self.drive(which), number)

    @rule(
        what=st.sampled_from(["quota", "quota", "disable", "enable", "enable", "rotate"]),
        who=users,
        drives=st.sampled_from([None, None, 0, 2, 3, 5]),
        size_bytes=st.sampled_from([None, None, None, 0, 50_000, 8 * 2**20]),
    )
    def manage_users(self, what, who, drives, size_bytes):
        user, bob = self.twin.users[who], self.twin.users["bob"]
        match what:
            case "quota":
                self.twin.set_quota(user, drives, size_bytes)
            case "rotate":
                self.twin.rotate_key(user)
            case _:
                self.twin.enable(bob, is_enabled=what == "enable")

    @precondition(lambda self: self.model.drives)
    @rule(
        which=st.integers(0, 20),
        media=st.sampled_from(["disk", "cdrom", ""]),
        rawsize=st.sampled_from(["", "20000", "1000000"]),
    )
    def mark_a_standard_drive(self, which, media, rawsize):
        drive = list(self.model.drives.values())[which % len(self.model.drives)]
        standard = {"media": media, "format": "gzip", "rawsize": rawsize}
        kept = {key: value for key, value in standard.items() if value}
        self.twin.set_standard(drive, kept if media else None)

    @rule(is_crash=st.booleans(), without=st.sampled_from([None, None, None, *STORES]))
    def restart(self, is_crash, without):
        left_out = {without} if without and not self.twin.has_begun_jobs() else set()
        self.twin.restart(is_crash=is_crash, without=left_out)

    @precondition(lambda self: self.kind == "file" and not self.twin.has_begun_jobs())
    @rule(store=st.sampled_from(list(STORES)))
    def lose_or_mend_a_store(self, store):
        if self.model.lost:
            self.twin.mend()
        else:
            self.twin.lose(store)

    @invariant()
    def everything_is_as_the_model_says(self):
        self.turn += 1
        self.twin.compare(self.turn)

    def teardown(self):
        self.reached.update(self.twin.reached)
        has_failed = sys.exc_info()[1] is not None
        try:
            if not has_failed:
                self.twin.compare_at_the_end()
        finally:
            self.twin.world.close()
            # Big contents that nobody looks at any more must not wait for the garbage collector,
            # which counts objects and not bytes; tracebacks of failures hold on to them.
            del self.twin
            if has_failed:
                gc.collect()
