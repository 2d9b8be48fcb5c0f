"""What is compared after every step of a history, and once more at its end."""

import itertools

from property import answers
from property.asgi import Request
from property.fields import Refused
from property.manner import READING, Manner, credentials
from property.nouns import Reply, Upload, User
from property.twin import NOWHERE
from property.twin_imaging import ImagingTwin
from property.values import MARK

# What a file system may take for itself: ext4 keeps 340 extents to a block of 4096 bytes.
_SLACK = 65536

PATHS = [
    *("/", "/drive", "/drives", "/drives/", "/drives/nonsense", "/servers/list", "/favicon.ico"),
    *("/drives/list/all", "/drives/info/short", "/drives/create/now", "/Drives/list"),
    *("/drives/%6cist", "/drives/list%2f", "/drives/list;x", "/api/drives/list", "/drives/\xfc"),
    *(f"/drives/{NOWHERE}", f"/drives/{NOWHERE}/", f"/drives/{NOWHERE}/read"),
    *(f"/drives/{NOWHERE}/read/0", f"/drives/{NOWHERE}/write/0/1", f"/drives/{NOWHERE}/image"),
    f"/drives/{NOWHERE}/image/{NOWHERE}/gzip/gunzip",
]
"""There are no such calls."""

HIDDEN = [
    *("info", "info/full", "read/0/1", "read/x/y", "clone", "clone/zip", "set", "destroy"),
    *(f"claim/{NOWHERE}", "claim/x", f"release/{NOWHERE}", "release/x"),
    *("write", "write/x", "image/cancel", f"image/{NOWHERE}", f"image/{NOWHERE}/zip"),
]
"""Calls on a drive that its owner, or a reader, may make; some with a mistake in them."""

ODD = ["path", "path", "long body", "hang up", "catalog", "number", "number", "number"]


class ComparedTwin(ImagingTwin):
    """The twin with its comparisons of everything."""

    def enabled(self) -> list[User]:
        return [user for user in self.users.values() if user.enabled]

    def compare(self, turn: int) -> None:
        """Compare every user's full records, one more kind of answer, and what changed."""
        users = self.enabled()
        for index, user in enumerate(users):
            is_json = (turn + index) % 2 == 0
            manner = Manner(user.name, "GET", json_out=is_json, worker=turn % 2)
            self.info_all(manner, full=True)
        manner = Manner(users[turn % len(users)].name, "GET", json_out=turn % 5 < 2)
        others = (self.list, self.info_all)[turn % 2]
        others(manner, standard=turn % 4 < 2)
        for drive in list(self.stale):
            owner = self.model.users[drive.owner]
            if owner.enabled:
                self.compare_content(drive, Manner("owner", "GET", worker=turn % 2, dice=turn))
                self.stale.discard(drive)
        self._compare_one_as_a_reader(turn)
        self.compare_tickets()

    def _compare_one_as_a_reader(self, turn: int) -> None:
        pairs = list(itertools.product(self.model.drives.values(), self.enabled()))
        if pairs:
            drive, user = pairs[turn % len(pairs)]
            manner = Manner(user.name, "POST", json_out=turn % 3 == 0, worker=turn % 2)
            self.info(manner, drive.uuid, full=turn % 2 == 0)

    def compare_at_the_end(self) -> None:
        """Mend everything, let every job end, and compare all there is."""
        self.mend()
        self.restart()
        for user in self.users.values():
            self.enable(user, is_enabled=True)
        self.run_all()
        self.compare(0)
        for drive in self.model.drives.values():
            self.compare_all_content(drive)
        self.require_sparse_and_secret()

    def require_sparse_and_secret(self) -> None:
        """Look into the stores: nothing too much, nothing in plain that is not to be."""
        drives = self.model.drives.values()
        held = {store: {d.uuid for d in drives if d.store == store} for store in self.model.stores}
        assert self.world.volumes() == held
        for drive in drives:
            data, allocated = self.world.stored(drive.uuid, drive.store)
            assert allocated <= len(drive.content.touched) * 4096 + _SLACK
            assert drive.cipher == "none" or MARK not in data
            assert drive.cipher != "none" or data == drive.content.all()
        for path, data in self.world.other_files():
            assert MARK not in data, path

    def require_hidden(self, user: User, drive: str, call: str, *, is_json: bool) -> None:
        """Require that *drive* is answered byte for byte like one that does not exist."""
        found = []
        for name in (drive, NOWHERE):
            body = b"size nonsense" if call in {"set", "clone"} else b"x" * ("write" in call)
            kind = "application/json" if is_json else "text/plain"
            headers = [("Accept", kind), ("Content-Type", kind), ("Content-Length", f"{len(body)}")]
            signed = credentials("", user, self.disabled, Manner().rolled(""))
            signed = [("Authorization", text) for text in signed]
            request = Request("POST", f"/drives/{name}/{call}", headers + signed, body)
            found.append(self.world.send(0, request))
        there, nowhere = found
        refused = Refused(404, "missing") if user.enabled else Refused(401, "auth")
        answers.require_error(there, refused, is_head=False)
        assert there.body.replace(drive.encode(), NOWHERE.encode()) == nowhere.body
        assert there.headers | {"content-length": ""} == nowhere.headers | {"content-length": ""}

    def odd(self, manner: Manner, what: str, drive: str, number: str) -> None:
        """Send what no client should."""
        dice = manner.rolled("odd")
        match what:
            case "path":
                takes = (manner.method_of(READING),)
                self.call(manner, dice.choice(PATHS), _missing, takes=takes)
            case "number":
                at, length = dice.choice(((number, "1"), ("0", number)))
                self.read(manner, drive, at, length)
                self.write(manner, drive, number, Upload(b"x"))
            case "long body":
                body = b" " * (2**21 + 1)
                self.call(manner, "/drives/create", _unusable, body=body)
            case "hang up":
                upload = Upload(b"size 1\nname x", then="hang up", sent=dice.randrange(14))
                self.call(manner, "/drives/create", _unusable, upload=upload)
            case "catalog":
                with self.world.without_catalog():
                    self._call_without_catalog(manner, drive)

    def _call_without_catalog(self, manner: Manner, drive: str) -> None:
        user = self.user(manner, drive)
        signed = credentials("owner", user, self.disabled, manner.rolled(""))
        headers = [("Authorization", text) for text in signed] + manner.accept()
        method = manner.method_of(READING)
        answer = self.world.send(manner.worker, Request(method, f"/drives/{drive}/info", headers))
        answers.require_error(answer, Refused(500, "system"), is_head=method == "HEAD")
        self.reached["", 500, "system"] += 1


def _missing(*_: object) -> Reply:
    raise Refused(404, "missing")


def _unusable(*_: object) -> Reply:
    raise Refused(400, "usage")
