"""The catalog's imaging jobs: the way of a job from queued to its end."""

from dataclasses import replace
from uuid import uuid4

import pytest

from contract.rows import add_drive, add_job, add_user
from drivebay.catalog import Catalog, Transaction, drives, jobs
from drivebay.errors import CatalogFailed
from drivebay.model import Conversion, Drive, Job, JobState

CANCELLED = "cancelled by its owner"


def some_drives(tx: Transaction, count: int) -> list[Drive]:
    """Record drives of one new user."""
    owner = add_user(tx)
    return [add_drive(tx, owner.uuid) for _ in range(count)]


def started(tx: Transaction, drive: Drive, source: Drive) -> Job:
    """Record a job and make a runner take it."""
    add_job(tx, drive, source)
    job = jobs.claim_next(tx)
    assert job is not None
    assert job.drive == drive.uuid
    return job


class JobQueries:
    @pytest.mark.parametrize("conversion", Conversion)
    def test_a_new_job_is_queued_and_knows_its_owners(self, catalog: Catalog, conversion):
        with catalog.write() as tx:
            one, other = add_user(tx), add_user(tx)
            drive, source = add_drive(tx, one.uuid), add_drive(tx, other.uuid)
            job = jobs.insert(
                tx, drive=drive.uuid, source=source.uuid, conversion=conversion, total=2**63 - 1
            )

        with catalog.read() as tx:
            assert jobs.get(tx, drive.uuid) == job
            assert jobs.get(tx, source.uuid) is None
        assert job == Job(
            id=job.id,
            drive=drive.uuid,
            drive_owner=one.uuid,
            source=source.uuid,
            source_owner=other.uuid,
            conversion=conversion,
            state=JobState.QUEUED,
            position=0,
            total=2**63 - 1,
        )

    def test_a_job_needs_two_drives_that_are_there(self, catalog: Catalog):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)

        for onto, source in [(drive.uuid, uuid4()), (uuid4(), drive.uuid), (drive.uuid,) * 2]:
            with pytest.raises(CatalogFailed), catalog.write() as tx:
                jobs.insert(tx, drive=onto, source=source, conversion=Conversion.NONE, total=1)

    def test_a_drive_has_one_job_onto_it_and_a_failed_one_gives_way(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, source, other = some_drives(tx, 3)
            job = add_job(tx, drive, source)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            add_job(tx, drive, other)

        with catalog.write() as tx:
            assert jobs.get(tx, drive.uuid) == job
            jobs.fail(tx, job.id, "too small")
            again = add_job(tx, drive, other)
        assert again.id > job.id
        assert (again.state, again.error, again.source) == (JobState.QUEUED, "", other.uuid)

    def test_runners_get_the_oldest_first_and_each_job_once(self, catalog: Catalog):
        with catalog.write() as tx:
            source, *onto = some_drives(tx, 4)
            made = [add_job(tx, drive, source) for drive in onto]

        claimed = []
        for _ in range(4):
            with catalog.write() as tx:
                claimed.append(jobs.claim_next(tx))

        assert claimed == [*(replace(job, state=JobState.RUNNING) for job in made), None]

    def test_active_jobs_are_the_queued_and_the_running(self, catalog: Catalog):
        with catalog.write() as tx:
            source, *onto = some_drives(tx, 4)
            running = started(tx, onto[0], source)
            failed = started(tx, onto[1], source)
            done = started(tx, onto[2], source)
            queued = add_job(tx, source, onto[0])
            jobs.fail(tx, failed.id, "too small")
            jobs.finish(tx, done.id)

        with catalog.read() as tx:
            assert jobs.active(tx) == [running, queued]
            assert jobs.get(tx, onto[2].uuid) is None
            assert jobs.get(tx, onto[1].uuid) == replace(
                failed, state=JobState.FAILED, error="too small"
            )

    def test_progress_is_recorded_until_the_job_is_cancelled(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, source = some_drives(tx, 2)
            job = started(tx, drive, source)
            assert jobs.record(tx, job.id, 40)
            assert jobs.get(tx, drive.uuid) == replace(job, position=40)

            jobs.cancel(tx, drive.uuid)
            assert not jobs.record(tx, job.id, 50)
            assert jobs.get(tx, drive.uuid) == replace(job, position=40, cancelled=True)

            jobs.finish(tx, job.id)
            assert not jobs.record(tx, job.id, 60)

    def test_cancelling_what_no_runner_had_leaves_nothing(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, source, other = some_drives(tx, 3)
            add_job(tx, drive, source)
            kept = add_job(tx, other, source)
            jobs.cancel(tx, drive.uuid)
            jobs.cancel(tx, source.uuid)

            assert jobs.get(tx, drive.uuid) is None
            assert jobs.active(tx) == [kept]

    def test_cancelling_what_waits_for_a_second_start_fails_it_at_once(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, source = some_drives(tx, 2)
            job = started(tx, drive, source)
            jobs.record(tx, job.id, 40)
            assert jobs.requeue_running(tx) == 1
            jobs.cancel(tx, drive.uuid)

            assert jobs.get(tx, drive.uuid) == replace(
                job, state=JobState.FAILED, position=40, error=CANCELLED
            )
            assert jobs.claim_next(tx) is None

    def test_cancelling_a_failed_job_changes_nothing(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, source = some_drives(tx, 2)
            job = started(tx, drive, source)
            jobs.fail(tx, job.id, "too small")
            jobs.cancel(tx, drive.uuid)

            assert jobs.get(tx, drive.uuid) == replace(
                job, state=JobState.FAILED, error="too small"
            )

    def test_a_restart_queues_what_was_running_where_it_was(self, catalog: Catalog):
        with catalog.write() as tx:
            source, *onto = some_drives(tx, 4)
            running = started(tx, onto[0], source)
            unwanted = started(tx, onto[1], source)
            waiting = add_job(tx, onto[2], source)
            jobs.record(tx, running.id, 70)
            jobs.cancel(tx, onto[1].uuid)

        with catalog.write() as tx:
            assert jobs.requeue_running(tx) == 1
            assert jobs.requeue_running(tx) == 0

        again = replace(running, state=JobState.QUEUED, position=70)
        with catalog.write() as tx:
            assert jobs.active(tx) == [again, waiting]
            assert jobs.get(tx, onto[1].uuid) == replace(
                unwanted, state=JobState.FAILED, error=CANCELLED
            )
            assert jobs.claim_next(tx) == replace(again, state=JobState.RUNNING)

    def test_a_failed_job_is_forgotten_when_it_no_longer_counts(self, catalog: Catalog):
        with catalog.write() as tx:
            source, *onto = some_drives(tx, 3)
            failed, running = started(tx, onto[0], source), started(tx, onto[1], source)
            jobs.fail(tx, failed.id, "too small")
            for drive in (source, *onto):
                jobs.clear_failed(tx, drive.uuid)

            assert jobs.get(tx, onto[0].uuid) is None
            assert jobs.get(tx, onto[1].uuid) == running

    def test_a_jobs_id_is_never_used_again(self, catalog: Catalog):
        ids = []
        with catalog.write() as tx:
            drive, source = some_drives(tx, 2)
        for _ in range(5):
            with catalog.write() as tx:
                ids.append(add_job(tx, drive, source).id)
                jobs.cancel(tx, drive.uuid)

        assert ids == sorted(set(ids))

    def test_runners_beside_each_other_never_get_the_same_job(self, catalog: Catalog, in_threads):
        with catalog.write() as tx:
            source, *onto = some_drives(tx, 13)
            for drive in onto:
                add_job(tx, drive, source)

        def run() -> list[int]:
            ids = []
            while True:
                with catalog.write() as tx:
                    job = jobs.claim_next(tx)
                if job is None:
                    return ids
                ids.append(job.id)

        claimed = [job for ids in in_threads(run, count=4) for job in ids]
        with catalog.read() as tx:
            found = drives.get(tx, source.uuid)
        assert sorted(claimed) == sorted(job.id for job in found.jobs)
