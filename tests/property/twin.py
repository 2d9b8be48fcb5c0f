"""The service and its model, doing the same, call by call; every answer is held against the model."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from live import Answer
from property import answers
from property.asgi import Request
from property.fields import UUID, Refused
from property.manner import BAD_CREDENTIALS, CHANGING, READING, Manner, credentials
from property.model import Model
from property.nouns import PIECE, Drive, Job, Reply, Upload, User
from property.world import STORES, Template, World

NOWHERE = "00000000-0000-4000-8000-00000000000f"
Ask = Callable[[str, Answer], Reply]


class Twin:
    """Both, beginning with an empty data folder."""

    def __init__(self, template: Template, base: Path, kind: str) -> None:
        self.world = World(template, base, kind)
        *users, self.disabled = [User(**vars(user)) for user in template.users]
        self.model = Model(users, STORES)
        self.users = {user.name: user for user in users}
        self.running: list[Job | None] = [None] * len(self.world.steppers)
        self.stale: set[Drive] = set()
        self.tickets: set[str] = set()
        self.reached: Counter[tuple[str, int, str]] = Counter()

    def user(self, manner: Manner, drive: str) -> User:
        """Return whom the manner means: a name, or the owner of the drive that is called."""
        target = self.model.drives.get(drive)
        if manner.who in self.users:
            return self.users[manner.who]
        return self.model.users[target.owner] if target else self.users["alice"]

    def call(
        self,
        manner: Manner,
        path: str,
        ask: Ask,
        *,
        drive: str = "",
        takes: tuple[str, ...] = CHANGING,
        body: bytes = b"",
        headers: list[tuple[str, str]] | None = None,
        upload: Upload | None = None,
    ) -> Answer:
        """Make a call on the service, then on the model with *ask*, and compare."""
        user = self.user(manner, drive)
        method = manner.method_of(takes)
        signed = credentials(manner.who, user, self.disabled, manner.rolled("credentials"))
        sent = [("Authorization", text) for text in signed] + manner.accept() + (headers or [])
        if upload is None:
            length = [("Content-Length", str(len(body)))] if body or method == "POST" else []
        else:
            body = upload.data
            length = [("Content-Length", str(len(body)))] if upload.has_length else []
        request = Request(
            method,
            manner.path(path),
            sent + length,
            body,
            sent=upload.sent if upload else None,
            then=upload.then if upload else "end",
            cuts=manner.dice,
        )
        answer = self.world.send(manner.worker, request)
        self._compare(manner, answer, method, takes, user, ask)
        self.reached[_name(path), answer.status, answer.headers.get("x-elastic-error", "")] += 1
        return answer

    def _compare(
        self,
        manner: Manner,
        answer: Answer,
        method: str,
        takes: tuple[str, ...],
        user: User,
        ask: Ask,
    ) -> None:
        is_head = method == "HEAD"
        try:
            if manner.who in BAD_CREDENTIALS or not user.enabled:
                raise Refused(401, "auth")
            if method not in takes:
                raise Refused(405, "method")
            reply = ask(user.uuid, answer)
        except Refused as refused:
            answers.require_error(answer, refused, is_head=is_head)
            if refused.status == 405:
                assert set(answer.headers["allow"].split(", ")) == set(takes)
        else:
            answers.require_reply(answer, reply, is_json=manner.json_out, is_head=is_head)

    def list(self, manner: Manner, *, standard: bool = False) -> None:
        spelling = manner.rolled("standard").choice(("/list/standard", "/standard/list"))
        path = f"/drives{spelling}" if standard else "/drives/list"
        self.call(
            manner,
            path,
            lambda caller, _: self.model.list(caller, standard=standard),
            takes=READING,
        )

    def info_all(self, manner: Manner, *, full: bool = False, standard: bool = False) -> None:
        spelling = "/info/full" if full else "/info"
        if standard:
            spelling = manner.rolled("standard").choice(("/info/standard", "/standard/info"))
        self.call(
            manner,
            f"/drives{spelling}",
            lambda caller, _: self.model.info_all(caller, full=full, standard=standard),
            takes=READING,
        )

    def info(self, manner: Manner, drive: str, *, full: bool = False) -> None:
        self.call(
            manner,
            f"/drives/{drive}/info{'/full' if full else ''}",
            lambda caller, _: self.model.info(caller, drive, full=full),
            drive=drive,
            takes=READING,
        )

    def create(self, manner: Manner, pairs: Mapping[str, str], *, body: bytes | None = None) -> str:
        """Create a drive from *pairs*, or from a *body* that holds none; return it, or ""."""
        encoded, headers, understood = manner.encode(pairs)

        def ask(caller: str, answer: Answer) -> Reply:
            if body is not None:
                raise Refused(400, "usage")
            uuid = answers.drive_of(answer, is_json=manner.json_out)
            return self.model.create(caller, understood, uuid)

        answer = self.call(
            manner,
            "/drives/create",
            ask,
            body=encoded if body is None else body,
            headers=headers if body is None else manner.body_type(),
        )
        return self._made(answer, manner)

    def clone(
        self,
        manner: Manner,
        source: str,
        conversion: str,
        pairs: Mapping[str, str],
        *,
        body: bytes | None = None,
    ) -> str:
        encoded, headers, understood = manner.encode(pairs)

        def ask(caller: str, answer: Answer) -> Reply:
            given = understood if body is None else None
            uuid = answers.drive_of(answer, is_json=manner.json_out)
            return self.model.clone(caller, source, conversion, given, uuid)

        answer = self.call(
            manner,
            f"/drives/{source}/clone{'/' if conversion else ''}{conversion}",
            ask,
            drive=source,
            body=encoded if body is None else body,
            headers=headers if body is None else manner.body_type(),
        )
        return self._made(answer, manner)

    def _made(self, answer: Answer, manner: Manner) -> str:
        uuid = answers.drive_of(answer, is_json=manner.json_out)
        if uuid:
            assert UUID.fullmatch(uuid)
            drive = self.model.drives[uuid]
            drive.store = str(self.world.record(drive.owner, uuid)["store"])
            assert drive.store in drive.places
            self.stale.add(drive)
        return uuid

    def set(
        self, manner: Manner, drive: str, pairs: Mapping[str, str], *, body: bytes | None = None
    ) -> None:
        encoded, headers, understood = manner.encode(pairs)
        self.call(
            manner,
            f"/drives/{drive}/set",
            lambda caller, _: self.model.set(caller, drive, understood if body is None else None),
            drive=drive,
            body=encoded if body is None else body,
            headers=headers if body is None else manner.body_type(),
        )
        self._has_changed(drive)

    def destroy(self, manner: Manner, drive: str) -> None:
        self.call(
            manner,
            f"/drives/{drive}/destroy",
            lambda caller, _: self.model.destroy(caller, drive),
            drive=drive,
        )
        self.stale = {drive for drive in self.stale if drive.uuid in self.model.drives}

    def claim(
        self,
        manner: Manner,
        drive: str,
        server: str,
        pairs: Mapping[str, str],
        *,
        body: bytes | None = None,
    ) -> None:
        encoded, headers, understood = manner.encode(pairs)

        def ask(caller: str, answer: Answer) -> Reply:
            given = understood if body is None else None
            ticket = answers.value_of(answer, "claim:ticket", is_json=manner.json_out)
            self.tickets.add(ticket)
            return self.model.claim(caller, drive, server, given, ticket)

        self.call(
            manner,
            f"/drives/{drive}/claim/{server}",
            ask,
            drive=drive,
            body=encoded if body is None else body,
            headers=headers if body is None else manner.body_type(),
        )

    def release(self, manner: Manner, drive: str, server: str) -> None:
        self.call(
            manner,
            f"/drives/{drive}/release/{server}",
            lambda caller, _: self.model.release(caller, drive, server),
            drive=drive,
        )

    def compare_tickets(self) -> None:
        """Require that the tickets which open a drive are those of the model's claims."""
        drives = self.model.drives.values()
        living = {
            claim.ticket
            for drive in drives
            for claim in drive.claims
            if self.model.opens(drive, claim)
        }
        for ticket in self.tickets - {""}:
            assert self.world.opens(ticket) == (ticket in living)

    def read(self, manner: Manner, drive: str, at: str, length: str) -> None:
        is_head = manner.method_of(READING) == "HEAD"
        self.call(
            manner,
            f"/drives/{drive}/read/{at}/{length}",
            lambda caller, _: self.model.read(caller, drive, at, length, is_head=is_head),
            drive=drive,
            takes=READING,
        )

    def write(self, manner: Manner, drive: str, at: str | None, upload: Upload) -> None:
        def ask(caller: str, answer: Answer) -> Reply:
            answered = (answer.status, answers.in_place(answer))
            return self.model.write(caller, drive, at or "0", upload, answered=answered)

        self.call(
            manner,
            f"/drives/{drive}/write" + ("" if at is None else f"/{at}"),
            ask,
            drive=drive,
            headers=[("Content-Encoding", upload.coding)] if upload.coding else [],
            upload=upload,
        )
        self._has_changed(drive)

    def _has_changed(self, drive: str) -> None:
        if drive in self.model.drives:
            self.stale.add(self.model.drives[drive])

    def compare_content(self, drive: Drive, manner: Manner) -> None:
        """Read the drive through the API: all of a small one, samples of a larger one."""
        dice = manner.rolled(drive.uuid and "content")
        ranges = [(0, drive.size)]
        if drive.size > 2**16:
            starts = [dice.randrange(drive.size) for _ in range(3)] + [drive.size - 5]
            ranges = [(at, min(dice.randrange(2**17), drive.size - at)) for at in starts]
        for offset, length in ranges:
            self.read(manner, drive.uuid, str(offset), str(length))

    def compare_all_content(self, drive: Drive) -> None:
        """Read all of the drive through the API."""
        for offset in range(0, drive.size, PIECE):
            length = min(PIECE, drive.size - offset)
            self.read(Manner(method="GET"), drive.uuid, str(offset), str(length))


def _name(path: str) -> str:
    """Return the call that a path is of, with names and numbers left out."""
    words = {"drives", "list", "info", "standard", "create", "set", "destroy", "image", "cancel"}
    words |= {"claim", "release", "clone", "read", "write", "full", "gzip", "gunzip"}
    return "/".join(part if part in words else "-" for part in path.split("/")[1:])
