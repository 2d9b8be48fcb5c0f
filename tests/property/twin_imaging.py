"""The rest of what the service and its model do alike: imaging, operators, restarts, faults."""

from uuid import UUID

from drivebay.catalog import drives as drive_rows
from drivebay.catalog import users as user_rows
from drivebay.model import EVERYONE, ClaimType, Standard
from drivebay.service import accounts
from property import streams
from property.manner import Manner
from property.nouns import Drive, Job, User
from property.twin import Twin

CANCELLED = "cancelled by its owner"
_SECTOR = 4096
_GZIP_OVERHEAD = 2**16


class ImagingTwin(Twin):
    """The twin with jobs that are run piece by piece."""

    def image(self, manner: Manner, drive: str, source: str, conversion: str = "") -> None:
        self.call(
            manner,
            f"/drives/{drive}/image/{source}{'/' if conversion else ''}{conversion}",
            lambda caller, _: self.model.image(caller, drive, source, conversion),
            drive=drive,
        )

    def cancel(self, manner: Manner, drive: str) -> None:
        job = next((job for job in self.model.jobs if job.drive.uuid == drive), None)
        had_begun = job is not None and job.begun and job.state != "failed"
        stepper = None
        if job in self.running and had_begun:
            stepper = self.world.steppers[self.running.index(job)]
            self.world.on_wake = stepper.set_free
        answer = self.call(
            manner,
            f"/drives/{drive}/image/cancel",
            lambda caller, _: self.model.cancel(caller, drive),
            drive=drive,
        )
        self.world.on_wake = lambda: None
        if answer.status == 204 and had_begun:
            if stepper is not None:
                stepper.await_end()
                self.running[self.running.index(job)] = None
            self._adopt(job)

    def may_step(self, which: int) -> bool:
        """Whether a runner has something to do whose outcome the model knows."""
        job = self.running[which] or self.model.next_job()
        return job is not None and (self._is_at_hand(job) or not job.begun)

    def _is_at_hand(self, job: Job) -> bool:
        stores = {job.drive.store, job.source.store}
        return all(map(self.model.is_reachable, stores))

    def step(self, which: int) -> None:
        """Let a runner copy one more piece of its job, or of the next one."""
        stepper = self.world.steppers[which]
        if self.running[which] is None:
            job = self.model.next_job()
            assert job is not None
            self.running[which] = job
            self.model.begin(job)
        job = self.running[which]
        goes_on = stepper.step()
        job.position = stepper.position if stepper.position is not None else job.position
        if not goes_on:
            self.running[which] = None
            self._end(job)

    def run_all(self) -> None:
        """Let the runners end every job, as far as the stores are there."""
        for which in range(len(self.running)):
            while self.may_step(which):
                self.step(which)

    def _end(self, job: Job) -> None:
        """Judge how a job ended."""
        record = self.world.record(job.drive.owner, job.drive.uuid)
        error = record.get("imaging:error") if record.get("imaging") == "failed" else None
        assert error or "imaging" not in record
        if not self._is_at_hand(job):
            assert "failed to reach store" in error
            self.model.fail(job, error)
            return
        judge = {"": self._end_raw, "gzip": self._end_gzip, "gunzip": self._end_gunzip}
        judge[job.conversion](job, error)
        self.stale.add(job.drive)
        if error is None:
            self.model.finish(job)
        else:
            self.model.fail(job, error)

    def _end_raw(self, job: Job, error: str | None) -> None:
        assert error is None
        job.drive.content.write(0, job.source.content.all())

    def _end_gunzip(self, job: Job, error: str | None) -> None:
        data, is_sound = streams.unpacked(job.source.content.all())
        if is_sound and len(data) <= job.drive.size:
            assert error is None
            job.drive.content.write(0, data)
            return
        assert error is not None
        assert is_sound or "gzip stream" in error or len(data) > job.drive.size
        assert len(data) <= job.drive.size or "too small" in error or not is_sound
        self._adopt(job)

    def _end_gzip(self, job: Job, error: str | None) -> None:
        source, before = job.source.content.all(), job.drive.content.all()
        if error is not None:
            assert "too small" in error
            assert len(before) < len(source) + _GZIP_OVERHEAD
            self._adopt(job)
            return
        seen = self.world.peek(job.drive.owner, job.drive.uuid)
        data, behind = streams.member(seen)
        assert behind is not None
        assert data == source
        assert behind == before[len(before) - len(behind) :]
        job.drive.content.adopt(seen)

    def _adopt(self, job: Job) -> None:
        """Take what an imaging that was cut short has left: of every sector the old or the new."""
        drive, source = job.drive, job.source.content.all()
        before = drive.content.all()
        seen = self.world.peek(drive.owner, drive.uuid)
        if job.conversion != "gzip":
            new = source if job.conversion == "" else streams.unpacked(source)[0]
            new = new[: drive.size]
            for at in range(0, len(new), _SECTOR):
                end = min(at + _SECTOR, len(new))
                assert seen[at:end] in {before[at:end], new[at:end]}
            assert seen[len(new) :] == before[len(new) :]
        drive.content.adopt(seen)
        self.stale.add(drive)

    def restart(self, *, is_crash: bool = False, without: set[str] = frozenset()) -> None:
        """End all processes in the middle of what they do, and start them again."""
        for which, job in enumerate(self.running):
            stepper = self.world.steppers[which]
            if job is not None:
                stepper.kill() if is_crash else stepper.stop_at_work()
                job.position = stepper.position if stepper.position is not None else job.position
                self.running[which] = None
        self.world.restart(without=without)
        self.model.requeue()
        self.model.unconfigured = set(without)

    def has_begun_jobs(self) -> bool:
        """Whether a job has begun: only then a lost store hides what the job left behind."""
        return any(job.begun and job.state != "failed" for job in self.model.jobs)

    def lose(self, store: str) -> None:
        self.world.lose(store)
        self.model.lost.add(store)

    def mend(self) -> None:
        for store in self.model.lost:
            self.world.mend(store)
        self.model.lost.clear()

    def set_standard(self, drive: Drive, standard: dict[str, str] | None) -> None:
        """Do what `drivebay standard add` and `remove` do."""
        values = {"standard": None, "readers": ()}
        if standard is not None:
            rawsize = standard.get("rawsize")
            row = Standard(
                media=standard["media"],
                format=standard.get("format", ""),
                rawsize=int(rawsize) if rawsize else None,
            )
            values = {"standard": row, "readers": (EVERYONE,), "claim_type": ClaimType.SHARED}
            drive.claim_type = "shared"
        self.world.operate(lambda tx: drive_rows.change(tx, UUID(drive.uuid), **values))
        drive.standard = standard
        drive.readers = list(values["readers"])

    def set_quota(self, user: User, drives: int | None, size_bytes: int | None) -> None:
        user.drives, user.size_bytes = drives, size_bytes
        values = {"quota_drives": drives, "quota_bytes": size_bytes}
        self.world.operate(lambda tx: user_rows.change(tx, UUID(user.uuid), **values))

    def enable(self, user: User, *, is_enabled: bool) -> None:
        user.enabled = is_enabled
        self.world.operate(lambda tx: user_rows.change(tx, UUID(user.uuid), enabled=is_enabled))

    def rotate_key(self, user: User) -> None:
        def rotate(tx) -> None:
            row = accounts.named(tx, user.uuid)
            user.key = accounts.rotate_key(tx, row)

        self.world.operate(rotate)
