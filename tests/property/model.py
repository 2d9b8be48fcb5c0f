"""A plain model of the API: users, drives, imaging, and the order of the checks.

It follows docs/http-api.md, knows nothing of how the service does it, and does no I/O.
"""

from collections.abc import Mapping

from property import streams
from property.content import Content
from property.fields import EVERYONE, UUID, Refused, Wanted, for_create, for_set, number, usage
from property.nouns import PIECE, Claim, Drive, Job, Record, Reply, Upload, User

UNNAMED = "00000000-0000-0000-0000-000000000000"


class Model:
    """The whole state, and each call on it.  Calls return a Reply or raise Refused."""

    def __init__(self, users: list[User], stores: Mapping[str, str]) -> None:
        self.users = {user.uuid: user for user in users}
        self.stores = dict(stores)
        self.lost: set[str] = set()
        self.unconfigured: set[str] = set()
        self.drives: dict[str, Drive] = {}
        self.jobs: list[Job] = []

    def is_reachable(self, store: str) -> bool:
        return store not in self.lost | self.unconfigured

    def may_read(self, caller: str, drive: Drive) -> bool:
        return drive.owner == caller or caller in drive.readers or EVERYONE in drive.readers

    def readable(self, caller: str, uuid: str) -> Drive:
        drive = self.drives.get(uuid)
        if drive is None or not self.may_read(caller, drive):
            raise Refused(404, "missing")
        return drive

    def owned(self, caller: str, uuid: str) -> Drive:
        drive = self.drives.get(uuid)
        if drive is None or drive.owner != caller:
            raise Refused(404, "missing")
        return drive

    def job_onto(self, drive: Drive) -> Job | None:
        return next((job for job in self.jobs if job.drive is drive), None)

    def is_failed(self, drive: Drive) -> bool:
        job = self.job_onto(drive)
        return job is not None and job.state == "failed"

    def is_imaged(self, drive: Drive) -> bool:
        job = self.job_onto(drive)
        return job is not None and job.state != "failed"

    def holders(self, drive: Drive) -> list[Job]:
        """Return the jobs that hold the drive now, oldest first."""
        return [j for j in self.jobs if j.state != "failed" and drive in {j.drive, j.source}]

    def require_idle(self, drive: Drive) -> None:
        if self.holders(drive):
            raise Refused(409, "busy")

    def require_unclaimed(self, drive: Drive) -> None:
        if drive.claims:
            raise Refused(409, "busy")

    def require_store(self, drive: Drive) -> None:
        if not self.is_reachable(drive.store):
            raise Refused(500, "failed")

    def require_quota(self, caller: str, *, drives: int, size_bytes: int) -> None:
        user = self.users[caller]
        sizes = [drive.size for drive in self.drives.values() if drive.owner == caller]
        if user.drives is not None and drives > 0 and len(sizes) + drives > user.drives:
            raise Refused(402, "billing")
        past = user.size_bytes is not None and sum(sizes) + size_bytes > user.size_bytes
        if past and size_bytes > 0:
            raise Refused(402, "billing")

    def record(self, drive: Drive, caller: str, *, full: bool = False) -> Record:
        trusted = self.is_reachable(drive.store) and not self.is_failed(drive)
        record: Record = {
            "drive": drive.uuid,
            "encryption:cipher": drive.cipher,
            "name": drive.name,
            "size": drive.size,
            "status": "active" if trusted else "inactive",
            "user": drive.owner,
            "read:bytes": str(drive.read[0]),
            "read:requests": str(drive.read[1]),
            "write:bytes": str(drive.written[0]),
            "write:requests": str(drive.written[1]),
            **drive.user,
            **(drive.standard or {}),
            **self._imaging(drive, full=full),
        }
        optional = {
            "claim:type": "shared" if drive.claim_type == "shared" else "",
            "claimed": " ".join(self._claimed(drive, caller)),
            "readers": " ".join(drive.readers),
            "tags": " ".join(drive.tags),
            "tier": drive.tier,
        }
        if full:
            is_known = drive.store not in self.unconfigured
            optional["store"] = drive.store
            optional["store:domain"] = self.stores[drive.store] if is_known else ""
        return record | {key: value for key, value in optional.items() if value}

    def _imaging(self, drive: Drive, *, full: bool) -> Record:
        job = self.job_onto(drive)
        match job and job.state:
            case "queued":
                return {"imaging": "queued"}
            case "running":
                percent = job.position * 100 // job.source.size
                return {"imaging": f"{percent}%" if full else "true"}
            case "failed":
                return {"imaging": "failed", "imaging:error": job.error}
        return {}

    def _claimed(self, drive: Drive, caller: str) -> list[str]:
        shown = [
            claim.server if caller in {drive.owner, claim.holder} else UNNAMED
            for claim in drive.claims
        ]
        for job in self.holders(drive):
            peer = job.source if job.drive is drive else job.drive
            # Whoever named the source knows it, even if it was closed to him since.
            knows = caller == job.drive.owner or self.may_read(caller, peer)
            shown.append(peer.uuid if knows else UNNAMED)
        return list(dict.fromkeys(shown))

    def own(self, caller: str) -> list[Drive]:
        return [drive for drive in self.drives.values() if drive.owner == caller]

    def standard(self) -> list[Drive]:
        return [drive for drive in self.drives.values() if drive.standard is not None]

    def list(self, caller: str, *, standard: bool = False) -> Reply:
        drives = self.standard() if standard else self.own(caller)
        return Reply("uuids", [drive.uuid for drive in drives])

    def info_all(self, caller: str, *, standard: bool = False, full: bool = False) -> Reply:
        drives = self.standard() if standard else self.own(caller)
        return Reply("records", [self.record(drive, caller, full=full) for drive in drives])

    def info(self, caller: str, uuid: str, *, full: bool = False) -> Reply:
        return Reply("record", self.record(self.readable(caller, uuid), caller, full=full))

    def create(self, caller: str, pairs: Mapping[str, str], uuid: str) -> Reply:
        wanted = self._wanted_new(caller, pairs)
        drive = self._new(caller, wanted, uuid)
        return Reply("record", self.record(drive, caller))

    def _wanted_new(self, caller: str, pairs: Mapping[str, str]) -> Wanted:
        wanted = for_create(pairs, caller)
        kept = {key: value for key, value in wanted.user.items() if value}
        if wanted.size is None or len(kept) > 100:
            raise usage()
        for uuid in wanted.avoid:
            if uuid not in self.drives or not self.may_read(caller, self.drives[uuid]):
                raise usage()
        return wanted

    def _new(self, caller: str, wanted: Wanted, uuid: str, *, room: int = 0) -> Drive:
        """Add the drive if quota and space allow; what is imaged onto it needs *room* bytes."""
        self.require_quota(caller, drives=1, size_bytes=wanted.size)
        stores = {self.drives[avoided].store for avoided in wanted.avoid} - self.unconfigured
        domains = {self.stores[store] for store in stores}
        places = [
            store
            for store, domain in self.stores.items()
            if domain not in domains and self.is_reachable(store)
        ]
        if not places or wanted.size < room:
            raise Refused(507, "full")
        self.drives[uuid] = Drive(
            uuid=uuid,
            owner=caller,
            name=wanted.name or "",
            content=Content(wanted.size),
            cipher=wanted.cipher or "aes-xts-plain",
            claim_type=wanted.claim_type or "exclusive",
            readers=wanted.readers or [],
            tags=wanted.tags or [],
            user={key: value for key, value in wanted.user.items() if value},
            tier=wanted.tier or "",
            places=places,
            # Any of them is right; which one it was is learned from info/full.
            store=places[0],
        )
        return self.drives[uuid]

    def set(self, caller: str, uuid: str, pairs: Mapping[str, str] | None) -> Reply:
        """Change the drive; *pairs* are None where the body holds none that can be read."""
        drive = self.owned(caller, uuid)
        if pairs is None:
            raise usage()
        records = (self.record(drive, caller), self.record(drive, caller, full=True))
        wanted = for_set(pairs, *records)
        user = {key: value for key, value in (drive.user | wanted.user).items() if value}
        if len(user) > 100:
            raise usage()
        if wanted.size not in {None, drive.size}:
            self.require_idle(drive)
            self.require_unclaimed(drive)
            self.require_store(drive)
            self.require_quota(caller, drives=0, size_bytes=wanted.size - drive.size)
            drive.content.resize(wanted.size)
        self._require_type(drive, wanted.claim_type or drive.claim_type)
        for key in ("name", "claim_type", "readers", "tags"):
            if getattr(wanted, key) is not None:
                setattr(drive, key, getattr(wanted, key))
        drive.user = user
        drive.claims = [claim for claim in drive.claims if self.may_read(claim.holder, drive)]
        return Reply("record", self.record(drive, caller))

    def _require_type(self, drive: Drive, wanted: str) -> None:
        is_foreign = any(claim.holder != drive.owner for claim in drive.claims)
        is_shared = is_foreign or len(drive.claims) > 1
        if is_shared and wanted == "exclusive" != drive.claim_type:
            raise Refused(409, "busy")

    def destroy(self, caller: str, uuid: str) -> Reply:
        drive = self.owned(caller, uuid)
        self.require_idle(drive)
        self.require_unclaimed(drive)
        del self.drives[uuid]
        self.jobs = [job for job in self.jobs if job.drive is not drive]
        # The drive is gone; that its store is away is the operator's to know.
        self.require_store(drive)
        return Reply()

    def read(self, caller: str, uuid: str, at: str, length: str, *, is_head: bool = False) -> Reply:
        drive = self.readable(caller, uuid)
        offset, count = number(at), number(length)
        if count > PIECE or offset + count > drive.size:
            raise usage()
        if self.is_imaged(drive):
            raise Refused(409, "busy")
        if count and not is_head:
            self.require_store(drive)
        if not is_head:
            drive.read[0] += count
            drive.read[1] += 1
        return Reply("bytes", drive.content.read(offset, count))

    def write(
        self, caller: str, uuid: str, at: str, upload: Upload, *, answered: tuple[int, int]
    ) -> Reply:
        """Write; *answered* are the status and how many bytes an error says are in place.

        They decide only what a damaged gzip stream of more than a piece leaves open: how far it
        was unpacked before the damage was met.
        """
        drive = self.owned(caller, uuid)
        offset = number(at)
        if not upload.has_length:
            raise Refused(411, "usage")
        if upload.coding.lower() not in {"", "identity", "gzip", "x-gzip"}:
            raise usage()
        self.require_idle(drive)
        if drive.claim_type == "exclusive":
            self.require_unclaimed(drive)
        room = drive.size - offset
        if room < 0 or (not upload.is_gzip and len(upload.data) > room):
            raise Refused(507, "full")
        data, stored, failure = _fate(upload, room, answered)
        if stored:
            self.require_store(drive)
            drive.content.write(offset, data[:stored])
            self.jobs = [job for job in self.jobs if job.drive is not drive]
        if failure is not None:
            failure.in_place = stored
            raise failure
        drive.written[0] += stored
        drive.written[1] += 1
        return Reply()

    def image(self, caller: str, uuid: str, source: str, conversion: str) -> Reply:
        drive = self.owned(caller, uuid)
        origin = self.readable(caller, source)
        if conversion not in {"", "gzip", "gunzip"} or drive is origin:
            raise usage()
        self.require_idle(drive)
        self.require_unclaimed(drive)
        self._require_settled(origin)
        if conversion == "" and origin.size > drive.size:
            raise Refused(507, "full")
        self.require_store(drive)
        self.require_store(origin)
        before = self.job_onto(drive)
        self.jobs = [job for job in self.jobs if job is not before]
        self.jobs.append(Job(drive, origin, conversion, before=before.error if before else ""))
        return Reply()

    def clone(
        self,
        caller: str,
        source: str,
        conversion: str,
        pairs: Mapping[str, str] | None,
        uuid: str,
    ) -> Reply:
        origin = self.readable(caller, source)
        if conversion not in {"", "gzip", "gunzip"} or pairs is None:
            raise usage()
        raw = (origin.standard or {}).get("rawsize") if conversion == "gunzip" else None
        given = {"name": origin.name, "size": raw or str(origin.size), **pairs}
        wanted = self._wanted_new(caller, given)
        self._require_settled(origin)
        drive = self._new(caller, wanted, uuid, room=0 if conversion else origin.size)
        if not self.is_reachable(origin.store):
            del self.drives[uuid]
            self.require_store(origin)
        self.jobs.append(Job(drive, origin, conversion))
        return Reply("record", self.record(drive, caller))

    def claim(
        self, caller: str, uuid: str, server: str, pairs: Mapping[str, str] | None, ticket: str
    ) -> Reply:
        """Let *server* hold the drive; *pairs* are None where the body cannot be read.

        *ticket* is the one that the answer has.
        """
        drive = self.readable(caller, uuid)
        if not UUID.fullmatch(server) or pairs is None:
            raise usage()
        wanted = pairs.get("claim:access", "write" if caller == drive.owner else "read")
        if wanted not in {"read", "write"}:
            raise usage()
        if wanted == "write":
            self.owned(caller, uuid)
        before = next((claim for claim in drive.claims if claim.server == server), None)
        self._require_claimable(drive, caller, before, wanted)
        if before is not None:
            before.ticket = ""
        if drive.claim_type == "exclusive":
            self.require_store(drive)
        drive.claims = [claim for claim in drive.claims if claim is not before]
        drive.claims.append(Claim(server, caller, wanted, ticket))
        secret = {"claim:access": wanted, "claim:ticket": ticket, "nbd": f"nbd:///{ticket}"}
        return Reply("record", self.record(drive, caller) | secret)

    def _require_claimable(
        self, drive: Drive, caller: str, before: Claim | None, wanted: str
    ) -> None:
        is_taken = len(drive.claims) > (before is not None)
        if drive.claim_type == "exclusive" and (caller != drive.owner or is_taken):
            raise Refused(409, "busy")
        if before is not None and caller not in {before.holder, drive.owner}:
            raise Refused(409, "busy")
        if self.is_imaged(drive):
            raise Refused(409, "busy")
        if wanted == "write":
            self.require_idle(drive)
        if self.is_failed(drive):
            raise Refused(500, "failed")

    def release(self, caller: str, uuid: str, server: str) -> Reply:
        drive = self.readable(caller, uuid)
        if not UUID.fullmatch(server):
            raise usage()
        for claim in drive.claims:
            if claim.server == server and caller in {drive.owner, claim.holder}:
                drive.claims.remove(claim)
                return Reply()
        raise Refused(404, "missing")

    def opens(self, drive: Drive, claim: Claim) -> bool:
        """Whether the ticket of a claim lets an NBD client in."""
        may = claim.holder == drive.owner if claim.access == "write" else True
        is_enabled = self.users[claim.holder].enabled
        return bool(claim.ticket) and may and is_enabled and self.may_read(claim.holder, drive)

    def _require_settled(self, origin: Drive) -> None:
        if any(claim.access == "write" for claim in origin.claims):
            raise Refused(409, "busy")
        if self.job_onto(origin) is not None:
            raise Refused(409, "busy")

    def cancel(self, caller: str, uuid: str) -> Reply:
        drive = self.owned(caller, uuid)
        job = self.job_onto(drive)
        if job is None or job.state == "failed":
            raise Refused(409, "busy")
        if job.begun:
            self.fail(job, "cancelled by its owner")
        elif job.before:
            self.fail(job, job.before)
        else:
            self.jobs.remove(job)
        return Reply()

    def next_job(self) -> Job | None:
        return next((job for job in self.jobs if job.state == "queued"), None)

    def begin(self, job: Job) -> None:
        job.state, job.begun = "running", True

    def requeue(self) -> None:
        """Do what a start of the service does with jobs that were running."""
        for job in self.jobs:
            if job.state == "running":
                job.state = "queued"

    def finish(self, job: Job) -> None:
        self.jobs.remove(job)

    def fail(self, job: Job, error: str) -> None:
        job.state, job.error = "failed", error


def _fate(
    upload: Upload, room: int, answered: tuple[int, int]
) -> tuple[bytes, int, Refused | None]:
    """Return a body's decoded bytes, how many of them get stored, and how the write fails."""
    full = Refused(507, "full")
    if not upload.is_gzip:
        data = upload.arrived
        whole = len(data) // PIECE * PIECE
        return data, whole if upload.broken_off else len(data), upload.broken_off
    data, behind = streams.member(upload.arrived)
    most = min(room, max(0, len(data) - 1)) // PIECE * PIECE
    if behind == b"" and not upload.broken_off:
        return (data, len(data), None) if len(data) <= room else (data, most, full)
    status, in_place = answered
    assert in_place in range(0, most + 1, PIECE)
    if status == 507 and len(data) > most + PIECE > room:
        return data, in_place, full
    # Of damage and a sender who falls silent, either may be noticed first.
    is_damaged = behind is None or behind != b""
    failure = usage() if status == 400 and is_damaged else upload.broken_off
    return data, in_place, failure or usage()
