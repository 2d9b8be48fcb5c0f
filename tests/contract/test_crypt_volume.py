"""Encrypted volumes keep the contract, over each store and with each cipher."""

import pytest

from contract.lock_contract import LockContract
from contract.stacks import CIPHERS, Stack
from contract.volume_contract import VolumeContract
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


class TestOverMemory(VolumeContract, LockContract):
    @pytest.fixture
    def stack(self, cipher):
        return Stack(MemoryStore("memory", "domain"), cipher)


class TestOverFile(VolumeContract, LockContract):
    @pytest.fixture
    def stack(self, cipher, tmp_path):
        made = FileStore("file", "domain", tmp_path / "store")
        made.prepare("0123", first=True)
        return Stack(made, cipher)
