"""The ciphers against an AES-XTS by the book, IEEE 1619's vectors, OpenSSL's, and each other."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from contract.stacks import CIPHERS, KEY, NATIVE, SECTOR, Kept, Stack, pattern, read, writable
from drivebay.errors import StorageFailed
from drivebay.storage import crypt
from drivebay.storage.crypt import (
    CryptVolume,
    NativeCipher,
    PortableCipher,
    implementations,
    inner_size,
    is_native,
    sector_cipher,
)
from drivebay.storage.memory import MemoryStore

native = pytest.mark.skipif(not is_native(), reason="the native cipher is not built here")

# IEEE 1619-2007, annex B, vectors 10 to 14: XTS-AES-256, data units of 512 bytes.  The beginning
# of a longer unit's ciphertext is the same, so they fit our sectors: 32 bytes of each.
VECTOR_KEY = bytes.fromhex(
    "2718281828459045235360287471352662497757247093699959574966967627"
    "3141592653589793238462643383279502884197169399375105820974944592"
)
VECTORS = {
    0xFF: "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
    0xFFFF: "77a31251618a15e6b92d1d66dffe7b50b50bad552305ba0217a610688eff7e11",
    0xFFFFFF: "e387aaa58ba483afa7e8eb469778317ecf4cf573aa9d4eac23f2cdf914e4e200",
    0xFFFFFFFF: "bf53d2dade78e822a4d949a9bc6766b01b06a8ef70d26748c6a7fc36d80ae4c5",
    0xFFFFFFFFFF: "64497e5a831e4a932c09be3e5393376daa599548b816031d224bbf50a818ed23",
}

sector_numbers = st.integers(0, 2**64 - 9) | st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**51 - 1])
keys = st.binary(min_size=64, max_size=64).filter(lambda key: key[:32] != key[32:])
sectors = st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=1, max_size=6).map(
    lambda seeds: b"".join(pattern(SECTOR, seed) if seed else bytes(SECTOR) for seed in seeds)
)


def xts(key: bytes, sector: int, data: bytes) -> bytes:
    """Encrypt one sector by the book: nothing but AES on single blocks and arithmetic."""
    first, second = (Cipher(AES(half), ECB()) for half in (key[:32], key[32:]))
    tweak = int.from_bytes(
        second.encryptor().update(sector.to_bytes(8, "little") + bytes(8)), "little"
    )
    tweaks = bytearray()
    for _ in range(0, len(data), 16):
        tweaks += tweak.to_bytes(16, "little")
        # Times x in GF(2**128), modulo x**128 + x**7 + x**2 + x + 1.
        tweak <<= 1
        if tweak >> 128:
            tweak ^= 1 << 128 | 0x87
    return _xor(first.encryptor().update(_xor(data, tweaks)), tweaks)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))


def stored(kept: Kept) -> bytes:
    """Return the bytes that lie in the store."""
    with kept.stack.store.open(kept.uuid) as volume:
        return read(volume)


def enciphered(plain: bytes, first: int = 0) -> bytes:
    """Return what is to lie in the store for *plain*, zeros behind its end included."""
    whole = plain.ljust(inner_size(len(plain)), b"\0")
    parts = [whole[at : at + SECTOR] for at in range(0, len(whole), SECTOR)]
    return b"".join(
        xts(KEY, number, part) if any(part) else part for number, part in enumerate(parts, first)
    )


@pytest.mark.parametrize("cipher", CIPHERS)
class TestCipher:
    @pytest.mark.parametrize("number", VECTORS, ids=hex)
    def test_it_is_the_standards(self, cipher, number):
        data = writable(bytes(range(256)) * 16)

        cipher(VECTOR_KEY).encrypt(number, data)

        assert bytes(data[:32]).hex() == VECTORS[number]
        cipher(VECTOR_KEY).decrypt(number, data)
        assert data == bytes(range(256)) * 16

    @given(first=sector_numbers, plain=sectors)
    def test_sectors_are_what_an_xts_by_the_book_makes_of_them(self, cipher, first, plain):
        data = writable(plain)

        cipher(KEY).encrypt(first, data)

        assert data == enciphered(plain, first)
        cipher(KEY).decrypt(first, data)
        assert data == plain

    @pytest.mark.parametrize("at", [0, 7, 8, 15, 16, 2048, SECTOR - 8, SECTOR - 1])
    def test_one_byte_that_is_not_zero_makes_a_sector_of_cipher_text(self, cipher, at):
        plain = bytearray(3 * SECTOR)
        plain[SECTOR + at] = 1
        data = writable(bytes(plain))

        cipher(KEY).encrypt(0, data)

        assert data == enciphered(bytes(plain))
        assert data[:SECTOR] == bytes(SECTOR)
        assert data[2 * SECTOR :] == bytes(SECTOR)
        assert bytes(data[SECTOR : 2 * SECTOR]).count(0) < 60

    def test_the_same_sector_looks_different_in_every_place(self, cipher):
        seen = set()
        for number in (0, 1, 2**16, 2**32, 2**32 + 1, 2**48, 2**63):
            data = writable(pattern(SECTOR))
            cipher(KEY).encrypt(number, data)
            seen.add(bytes(data))

        assert len(seen) == 7

    def test_nothing_is_nothing(self, cipher):
        cipher(KEY).encrypt(0, memoryview(bytearray()))
        cipher(KEY).decrypt(0, memoryview(bytearray()))


@st.composite
def runs(draw) -> tuple[int, bytes]:
    """Draw the number of a first sector, up to the last that there is, and up to 70 sectors."""
    count = draw(st.integers(1, 70))
    last = 2**64 - count
    first = draw(st.integers(0, last) | st.sampled_from([0, 2**32 - 1, 2**63 - 1, last]))
    plain = bytearray(pattern(count * SECTOR, draw(st.integers(0, 2**32))))
    for zero in draw(st.sets(st.integers(0, count - 1), max_size=5)):
        plain[zero * SECTOR : (zero + 1) * SECTOR] = bytes(SECTOR)
    return first, bytes(plain)


@pytest.mark.parametrize("cipher", NATIVE)
class TestNative:
    @given(run=runs(), key=keys, at=st.integers(0, 130))
    def test_it_makes_what_cryptography_makes_wherever_the_buffer_lies(self, cipher, run, key, at):
        first, plain = run
        expected = writable(plain)
        PortableCipher(key).encrypt(first, expected)
        around = memoryview(bytearray(b"\xee" * (at + len(plain) + 200)))
        data = around[at : at + len(plain)]
        data[:] = plain
        one = cipher(key)

        one.encrypt(first, data)

        assert data == expected
        one.decrypt(first, data)
        assert data == plain
        assert bytes(around[:at]) == b"\xee" * at
        assert bytes(around[at + len(plain) :]) == b"\xee" * 200

    @given(run=runs(), key=keys)
    def test_it_opens_what_cryptography_closed(self, cipher, run, key):
        first, plain = run
        data = writable(plain)
        PortableCipher(key).encrypt(first, data)

        cipher(key).decrypt(first, data)

        assert data == plain

    def test_it_deciphers_what_nobody_enciphered_as_cryptography_does(self, cipher):
        data, expected = writable(pattern(7 * SECTOR)), writable(pattern(7 * SECTOR))

        cipher(KEY).decrypt(5, data)

        PortableCipher(KEY).decrypt(5, expected)
        assert data == expected

    def test_each_half_of_the_key_counts_to_its_last_bit(self, cipher):
        seen = set()
        for bit in range(8 * len(KEY)):
            key = bytearray(KEY)
            key[bit // 8] ^= 1 << bit % 8
            data = writable(pattern(SECTOR))
            cipher(bytes(key)).encrypt(1, data)
            seen.add(bytes(data[-32:]))

        assert len(seen) == 8 * len(KEY)

    def test_threads_may_share_one(self, cipher):
        one, threads, rounds = cipher(KEY), 8, 20
        begin = Barrier(threads)
        # From what keeps the interpreter's lock to what releases it.
        plains = [pattern((1 + 3 * index) * SECTOR, index) for index in range(threads)]

        def cycle(index: int) -> list[bytes]:
            made = []
            begin.wait(timeout=60)
            for number in range(rounds):
                data = writable(plains[index])
                one.encrypt(1000 * index + number, data)
                made.append(bytes(data))
                one.decrypt(1000 * index + number, data)
                assert data == plains[index]
            return made

        with ThreadPoolExecutor(threads) as pool:
            made = list(pool.map(cycle, range(threads)))

        for index, plain in enumerate(plains):
            for number in range(rounds):
                expected = writable(plain)
                PortableCipher(KEY).encrypt(1000 * index + number, expected)
                assert made[index][number] == expected

    @pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
    def test_memory_that_may_not_be_changed_is_refused(self, cipher, verb):
        constant = pattern(SECTOR)

        with pytest.raises(TypeError, match="not writable"):
            getattr(cipher(KEY), verb)(0, memoryview(constant))

        assert constant == pattern(SECTOR)


class TestChoice:
    def test_the_portable_cipher_stands_in_where_the_native_one_is_not_built(self, monkeypatch):
        monkeypatch.setattr(crypt, "native", lambda: None)

        assert not is_native()
        assert isinstance(sector_cipher(KEY), PortableCipher)
        assert list(implementations()) == []
        with pytest.raises(LookupError):
            NativeCipher(KEY)

    @native
    def test_the_native_cipher_is_taken_where_it_is_built(self):
        assert isinstance(sector_cipher(KEY), NativeCipher)

    def test_native_ones_are_named_from_the_fastest_to_the_slowest(self):
        found = list(implementations())

        assert found == [n for n in ("vaes512", "vaes256", "aesni", "openssl") if n in found]

    @native
    def test_one_that_this_machine_does_not_have_is_refused(self):
        with pytest.raises(LookupError, match="abacus"):
            NativeCipher(KEY, "abacus")

    @pytest.mark.parametrize("length", [0, 32, 63, 65])
    def test_a_key_of_another_length_is_a_mistake_of_ours(self, length):
        with pytest.raises(AssertionError):
            NativeCipher(bytes(length))

    @native
    @pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
    @pytest.mark.parametrize("sectors", [1, 100])
    def test_a_failure_of_the_loop_is_a_failure_of_the_store(self, verb, sectors):
        cipher = NativeCipher(KEY)
        cipher._run = cipher._run_held = lambda *_: -1

        with pytest.raises(StorageFailed, match=verb):
            getattr(cipher, verb)(0, writable(pattern(sectors * SECTOR)))


@pytest.mark.parametrize("cipher", CIPHERS)
class TestVolume:
    @pytest.fixture
    def stack(self, cipher):
        return Stack(MemoryStore("memory", "domain"), cipher)

    @pytest.mark.parametrize("size", [1, SECTOR - 1, SECTOR, SECTOR + 1, 10_000])
    def test_what_is_stored_is_its_cipher_text_sector_by_sector(self, stack, size):
        kept = stack.make(size)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(size)))

        assert stored(kept) == enciphered(pattern(size))

    def test_pieces_in_any_order_make_the_same_cipher_text(self, stack):
        kept = stack.make(5 * SECTOR + 100)
        plain = pattern(2000) + bytes(3 * SECTOR) + pattern(2 * SECTOR - 1900)
        with kept.open() as volume:
            for at in [*range(1000, len(plain), 2000), *range(0, len(plain), 2000)]:
                volume.pwrite(at, writable(plain[at : at + 1000]))

        assert stored(kept) == enciphered(plain)

    def test_sectors_of_zeros_are_stored_as_zeros(self, stack):
        kept = stack.make(4 * SECTOR)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(4 * SECTOR)))
            volume.pwrite(SECTOR, writable(bytes(SECTOR)))
            volume.zero(3 * SECTOR, SECTOR)

        expected = pattern(SECTOR) + bytes(SECTOR) + pattern(3 * SECTOR)[2 * SECTOR :]
        assert stored(kept)[SECTOR : 2 * SECTOR] == bytes(SECTOR)
        assert stored(kept)[3 * SECTOR :] == bytes(SECTOR)
        assert stored(kept)[:SECTOR] == enciphered(expected)[:SECTOR]

    def test_a_sector_that_becomes_zeros_bit_by_bit_is_stored_as_zeros(self, stack):
        kept = stack.make(SECTOR + 100)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(SECTOR + 100)))
            for start, end in [(0, 1000), (1000, SECTOR), (SECTOR, SECTOR + 100)]:
                volume.zero(start, end - start)

        assert stored(kept) == bytes(2 * SECTOR)

    def test_sector_numbers_do_not_repeat_past_sixteen_tebibytes(self, stack):
        far = 2**32 * SECTOR
        kept = stack.make(far + 2 * SECTOR)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(SECTOR)))
            volume.pwrite(far, writable(pattern(SECTOR)))

        with stack.store.open(kept.uuid) as inner:
            assert read(inner, 0, SECTOR) == xts(KEY, 0, pattern(SECTOR))
            assert read(inner, far, SECTOR) == xts(KEY, 2**32, pattern(SECTOR))

    @pytest.mark.parametrize("size", [1, 1000, SECTOR, SECTOR + 1])
    def test_what_a_shrink_that_was_cut_short_left_behind_never_shows(self, stack, size):
        """The row is shorter already, the stored volume not yet."""
        kept = stack.make(4 * SECTOR)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(4 * SECTOR)))

        with kept.open(size) as volume:
            assert read(volume) == pattern(4 * SECTOR)[:size]
            volume.resize(3 * SECTOR + 5)
            assert read(volume) == pattern(4 * SECTOR)[:size].ljust(3 * SECTOR + 5, b"\0")

    def test_a_resize_to_the_same_size_clears_what_lies_behind(self, stack):
        kept = stack.make(4 * SECTOR)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(4 * SECTOR)))

        with kept.open(1000) as volume:
            volume.resize(1000)

        assert stored(kept) == enciphered(pattern(1000))

    def test_a_stored_volume_that_is_too_short_is_a_mistake_of_ours(self, stack, cipher):
        kept = stack.make(SECTOR)

        with (
            stack.store.open(kept.uuid) as inner,
            pytest.raises(AssertionError, match="too short"),
        ):
            CryptVolume(inner, cipher(KEY), SECTOR + 1)
