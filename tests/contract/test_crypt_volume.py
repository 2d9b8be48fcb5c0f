"""Encrypted volumes keep the contract, over each store and with each cipher."""

import pytest

from contract.lock_contract import LockContract
from contract.stacks import Stack
from contract.volume_contract import VolumeContract
from drivebay.storage.crypt import NativeCipher, PortableCipher, is_native
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore

native = pytest.mark.skipif(not is_native(), reason="the native cipher is not built here")


@pytest.fixture
def memory_store():
    return MemoryStore("memory", "domain")


@pytest.fixture
def file_store(tmp_path):
    made = FileStore("file", "domain", tmp_path / "store")
    made.prepare("0123", first=True)
    return made


class TestPortableCipherOverMemory(VolumeContract, LockContract):
    @pytest.fixture
    def stack(self, memory_store):
        return Stack(memory_store, PortableCipher)


class TestPortableCipherOverFile(VolumeContract, LockContract):
    @pytest.fixture
    def stack(self, file_store):
        return Stack(file_store, PortableCipher)


@native
class TestNativeCipherOverMemory(VolumeContract, LockContract):
    @pytest.fixture
    def stack(self, memory_store):
        return Stack(memory_store, NativeCipher)


@native
class TestNativeCipherOverFile(VolumeContract, LockContract):
    @pytest.fixture
    def stack(self, file_store):
        return Stack(file_store, NativeCipher)
