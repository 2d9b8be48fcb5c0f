"""The master key's file, wrapped data keys, API keys."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.errors import DriveFaulted, SetupFailed
from drivebay.keys import (
    DATA_KEY_BYTES,
    MasterKey,
    api_key_matches,
    hash_api_key,
    make_api_key,
)

DRIVE = UUID("0012e24a-6eae-4279-9912-3432f698cec8")
MASTER = MasterKey(bytes(range(32)))
GOOD = b"drivebay-master-key-1 " + b"5a" * 32 + b"\n"


class TestDataKeys:
    @given(st.binary(min_size=32, max_size=32), st.uuids())
    def test_a_wrapped_key_is_unwrapped_by_its_master_key_for_its_drive(self, master, drive):
        key, wrapped = MasterKey(master).make_data_key(drive)

        assert len(key) == DATA_KEY_BYTES
        assert MasterKey(master).unwrap(wrapped, drive) == key

    def test_a_wrapped_key_shows_nothing_of_the_key_and_is_never_the_same(self):
        key = bytes(range(64))
        wrapped = {MASTER.wrap(key, DRIVE) for _ in range(100)}

        assert len(wrapped) == 100
        assert all(key[at : at + 4] not in one for one in wrapped for at in range(60))

    def test_new_keys_have_two_different_halves(self):
        # Equal halves would make XTS weak (FIPS 140-2 IG A.9).
        keys = [MASTER.make_data_key(DRIVE)[0] for _ in range(100)]

        assert len({half for key in keys for half in (key[:32], key[32:])}) == 200

    def test_another_drives_key_opens_nothing(self):
        _, wrapped = MASTER.make_data_key(DRIVE)
        other = uuid4()

        with pytest.raises(DriveFaulted) as failure:
            MASTER.unwrap(wrapped, other)

        assert failure.value.drive == other

    def test_another_master_key_opens_nothing(self):
        _, wrapped = MASTER.make_data_key(DRIVE)

        with pytest.raises(DriveFaulted, match="cannot be unwrapped"):
            MasterKey(bytes(32)).unwrap(wrapped, DRIVE)

    def test_a_wrapped_key_with_any_bit_changed_opens_nothing(self):
        _, wrapped = MASTER.make_data_key(DRIVE)

        for bit in range(8 * len(wrapped)):
            changed = bytearray(wrapped)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DriveFaulted):
                MASTER.unwrap(bytes(changed), DRIVE)

    def test_a_wrapped_key_that_is_cut_or_grown_opens_nothing(self):
        _, wrapped = MASTER.make_data_key(DRIVE)

        for changed in [*(wrapped[:length] for length in range(len(wrapped))), wrapped + b"\0"]:
            with pytest.raises(DriveFaulted):
                MASTER.unwrap(changed, DRIVE)

    @pytest.mark.parametrize("length", [0, 32, 63, 65])
    def test_a_key_of_another_length_is_no_data_key(self, length):
        with pytest.raises(DriveFaulted, match="wrong length"):
            MASTER.unwrap(MASTER.wrap(bytes(length), DRIVE), DRIVE)


class TestFile:
    def test_a_key_is_made_once_for_its_owner_alone(self, tmp_path: Path):
        path = tmp_path / "deep" / "er" / "master.key"

        made = MasterKey.create(path)

        assert MasterKey.load(path).fingerprint == made.fingerprint
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]

    def test_making_it_again_keeps_the_first(self, tmp_path: Path):
        path = tmp_path / "master.key"
        first = MasterKey.create(path)
        content = path.read_bytes()

        assert MasterKey.create(path).fingerprint == first.fingerprint
        assert path.read_bytes() == content

    def test_many_that_make_it_at_once_load_the_same(self, tmp_path: Path):
        path = tmp_path / "master.key"
        together = threading.Barrier(8, timeout=60)

        def create() -> str:
            together.wait()
            return MasterKey.create(path).fingerprint

        with ThreadPoolExecutor(8) as pool:
            made = [one.result(60) for one in [pool.submit(create) for _ in range(8)]]

        assert set(made) == {MasterKey.load(path).fingerprint}
        assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]

    def test_two_keys_differ(self, tmp_path: Path):
        one, other = (MasterKey.create(tmp_path / name) for name in ("one", "other"))

        assert one.fingerprint != other.fingerprint

    def test_a_fingerprint_tells_nothing_of_the_key(self):
        assert len(MASTER.fingerprint) == 32
        assert MASTER.fingerprint not in bytes(range(32)).hex()

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o610, 0o777])
    def test_a_file_that_others_may_touch_is_refused(self, tmp_path: Path, mode):
        path = tmp_path / "master.key"
        path.write_bytes(GOOD)
        path.chmod(mode)

        with pytest.raises(SetupFailed, match="may be read by others") as refusal:
            MasterKey.load(path)

        assert refusal.value.hint == f"chmod 600 {path}"

    @pytest.mark.parametrize("mode", [0o600, 0o400])
    @pytest.mark.parametrize("content", [GOOD, GOOD.rstrip(), GOOD.replace(b"\n", b"\r\n")])
    def test_a_sound_file_is_loaded(self, tmp_path: Path, content, mode):
        path = tmp_path / "master.key"
        path.write_bytes(content)
        path.chmod(mode)

        assert MasterKey.load(path).fingerprint == MasterKey(b"\x5a" * 32).fingerprint

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\n",
            b"drivebay-master-key-1",
            GOOD.split()[1],
            GOOD[:-3],
            GOOD.replace(b"5a", b"5", 1),
            GOOD.replace(b"5a", b"xy", 1),
            GOOD.replace(b"5a", b"5a5a", 1),
            GOOD.replace(b"-1", b"-2"),
            GOOD + b"more",
            GOOD * 2,
            b"\xff\xfe" + GOOD,
            b"\0" * 4096,
            GOOD.decode().encode("utf-16"),
        ],
    )
    def test_a_file_with_anything_else_in_it_is_refused_and_not_shown(self, tmp_path, content):
        path = tmp_path / "master.key"
        path.write_bytes(content)
        path.chmod(0o600)

        with pytest.raises(SetupFailed, match="does not hold a master key") as refusal:
            MasterKey.load(path)

        assert "5a5a" not in f"{refusal.value} {refusal.value.hint}"
        assert path.read_bytes() == content

    def test_a_missing_file_is_told_with_the_way_to_name_another(self, tmp_path: Path):
        with pytest.raises(SetupFailed, match="cannot be read: No such file") as refusal:
            MasterKey.load(tmp_path / "none")

        assert "--master-key" in refusal.value.hint

    def test_a_folder_or_a_pipe_is_not_a_key(self, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe", 0o600)
        (tmp_path / "folder").mkdir(mode=0o700)

        for name in ("pipe", "folder"):
            with pytest.raises(SetupFailed, match="is not a file"):
                MasterKey.load(tmp_path / name)

    def test_a_key_that_cannot_be_made_is_told(self, tmp_path: Path):
        (tmp_path / "file").write_bytes(b"")

        with pytest.raises(SetupFailed, match="cannot be made"):
            MasterKey.create(tmp_path / "file" / "master.key")


class TestApiKeys:
    def test_keys_are_long_different_and_fit_into_a_header(self):
        made = {make_api_key() for _ in range(1000)}

        assert len(made) == 1000
        assert all(len(key) == 43 for key in made)
        assert all(set(key) <= set("-_") | {c for c in key if c.isalnum()} for key in made)
        assert all(key.isascii() for key in made)

    @given(st.binary(min_size=1, max_size=64), st.text(max_size=50), st.text(max_size=50))
    def test_a_hash_is_matched_by_its_key_alone(self, pepper, key, other):
        expected = hash_api_key(pepper, key)

        assert len(expected) == 32
        assert api_key_matches(pepper, key, expected)
        assert api_key_matches(pepper, other, expected) == (key == other)

    def test_a_hash_of_another_pepper_does_not_match(self):
        assert not api_key_matches(b"salt", "key", hash_api_key(b"pepper", "key"))

    def test_nothing_matches_a_hash_that_was_cut(self):
        assert not api_key_matches(b"pepper", "key", hash_api_key(b"pepper", "key")[:31])
        assert not api_key_matches(b"pepper", "key", b"")
