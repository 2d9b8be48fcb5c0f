"""The KEY VALUE pairs of create and set: every key, every limit, every character."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.errors import InvalidInput
from drivebay.model import (
    AVOID_MAX,
    EVERYONE,
    KEY_LENGTH_MAX,
    NAME_LENGTH_MAX,
    READERS_MAX,
    TAGS_MAX,
    USER_KEYS_MAX,
    VALUE_LENGTH_MAX,
    Cipher,
    ClaimType,
)
from drivebay.service.fields import Fields, for_create, for_set, merged_user_data

ONE = "0012e24a-6eae-4279-9912-3432f698cec8"
OTHER = "ffeeddcc-bbaa-9988-7766-554433221100"
DEFAULTS = {"user": ONE, "status": "active"}
PRESENT = {
    "drive": OTHER,
    "user": ONE,
    "status": "active",
    "name": "web",
    "size": 4096,
    "encryption:cipher": "none",
    "read:bytes": "5",
    "rawsize": 100,
    "store": "default",
    "tier": "disk",
}

CONTROLS = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]]
RECORDED = [
    "drive",
    "user",
    "status",
    "claimed",
    "imaging",
    "imaging:error",
    "fault",
    "read:bytes",
    "read:requests",
    "write:bytes",
    "write:requests",
    "store",
    "store:domain",
    "media",
    "format",
    "rawsize",
]
ONLY_AT_CREATE = ["encryption:cipher", "tier", "avoid"]

# For each key a maker of values, and how large they may be.
LIMITS = {
    "name": (lambda n: "é" * n, NAME_LENGTH_MAX),
    "tier": (lambda n: "x" * n, NAME_LENGTH_MAX),
    "tags": (lambda n: " ".join(["tag"] * n), TAGS_MAX),
    "readers": (lambda n: " ".join([ONE] * n), READERS_MAX),
    "avoid": (lambda n: " ".join([ONE] * n), AVOID_MAX),
    "user:key": (lambda n: "é" * n, VALUE_LENGTH_MAX),
    "user:lines": (lambda n: "\n" * n, VALUE_LENGTH_MAX),
}


def created(**pairs: str) -> Fields:
    return for_create(pairs, defaults=DEFAULTS)


def checked(key: str, value: str) -> Fields:
    return for_create({key: value}, defaults=DEFAULTS)


def numbered(count: int) -> str:
    """Return that many uuids."""
    return " ".join(str(UUID(int=number)) for number in range(count))


class TestLimits:
    @pytest.mark.parametrize("key", LIMITS)
    def test_a_value_may_be_as_large_as_its_limit_and_no_larger(self, key):
        value_of, limit = LIMITS[key]

        checked(key, value_of(limit - 1))
        checked(key, value_of(limit))
        with pytest.raises(InvalidInput, match=key):
            checked(key, value_of(limit + 1))

    @pytest.mark.parametrize(
        "key_of",
        [lambda n: ("user:" + "k" * (n - 5), "x"), lambda n: ("tags", "t" * n)],
        ids=["key", "tag"],
    )
    def test_keys_and_tags_have_a_length(self, key_of):
        checked(*key_of(KEY_LENGTH_MAX - 1))
        checked(*key_of(KEY_LENGTH_MAX))
        with pytest.raises(InvalidInput, match="longer than"):
            checked(*key_of(KEY_LENGTH_MAX + 1))

    def test_user_keys_have_a_count_after_the_change(self):
        present = {f"k{number}": "x" for number in range(USER_KEYS_MAX)}

        assert merged_user_data({}, present) == present
        assert merged_user_data(present, {"k0": "y"})["k0"] == "y"
        assert len(merged_user_data(present, {"k0": "", "new": "x"})) == USER_KEYS_MAX
        with pytest.raises(InvalidInput, match="at most 100"):
            merged_user_data(present, {"new": "x"})
        with pytest.raises(InvalidInput):
            merged_user_data({}, {**present, "new": "x"})

    def test_a_refusal_of_a_long_value_is_short(self):
        for key, (value_of, limit) in LIMITS.items():
            with pytest.raises(InvalidInput) as refusal:
                checked(key, value_of(100 * limit))
            assert len(str(refusal.value)) < 100


class TestSize:
    @pytest.mark.parametrize(
        ("text", "size"), [("1", 1), ("4M", 2**22), (str(2**63 - 1), 2**63 - 1), ("007", 7)]
    )
    def test_it_is_a_byte_count(self, text, size):
        assert created(size=text).size == size
        assert for_set({"size": text}, present=PRESENT).size == size

    @pytest.mark.parametrize("text", ["", "0", "0k", "-1", "1e3", " 1", str(2**63), "9" * 400])
    def test_anything_else_is_refused(self, text):
        with pytest.raises(InvalidInput, match="size"):
            created(size=text)

    def test_what_is_not_said_is_none(self):
        assert created() == Fields(user_data={})


class TestWords:
    @pytest.mark.parametrize(
        ("text", "claim_type"), [("exclusive", "EXCLUSIVE"), ("shared", "SHARED")]
    )
    def test_a_claim_type_is_one_of_two(self, text, claim_type):
        assert checked("claim:type", text).claim_type is ClaimType[claim_type]

    @pytest.mark.parametrize(("text", "cipher"), [("none", "NONE"), ("aes-xts-plain", "AES_XTS")])
    def test_a_cipher_is_one_of_two(self, text, cipher):
        assert checked("encryption:cipher", text).cipher is Cipher[cipher]

    @pytest.mark.parametrize("key", ["claim:type", "encryption:cipher"])
    @pytest.mark.parametrize("text", ["", " none", "NONE", "Shared", "aes", "aes-xts-plain64"])
    def test_any_other_word_is_refused_with_the_choice(self, key, text):
        with pytest.raises(InvalidInput, match=rf"{key} must be .* or "):
            checked(key, text)


class TestLists:
    def test_tags_are_words_between_blanks(self):
        assert created(tags=" one  two é:ü ").tags == ("one", "two", "é:ü")
        assert created(tags="").tags == ()
        assert created(tags="   ").tags == ()

    def test_readers_are_users_each_once(self):
        assert created(readers=f"{ONE} {OTHER} {ONE}").readers == (ONE, OTHER)
        assert created(readers="").readers == ()
        assert len(created(readers=numbered(READERS_MAX)).readers) == READERS_MAX

    def test_everybody_includes_the_others(self):
        assert created(readers=f"{ONE} {EVERYONE} {OTHER}").readers == (EVERYONE,)

    def test_drives_to_avoid_are_kept_in_order(self):
        assert created(avoid=f"{OTHER} {ONE}").avoid == (UUID(OTHER), UUID(ONE))
        assert created(avoid="").avoid == ()

    @pytest.mark.parametrize("key", ["readers", "avoid"])
    @pytest.mark.parametrize(
        "text", ["x", ONE.upper(), ONE.replace("-", ""), f"{{{ONE}}}", f"{ONE},{OTHER}", f"{ONE};"]
    )
    def test_what_is_no_uuid_is_refused(self, key, text):
        with pytest.raises(InvalidInput, match=f"{key} takes uuids"):
            checked(key, text)


class TestCharacters:
    @pytest.mark.parametrize("key", ["name", "tier", "tags", "readers", "avoid", "user:key"])
    def test_control_characters_are_refused(self, key):
        for character in CONTROLS:
            if key == "user:key" and character in "\n\t":
                continue
            with pytest.raises(InvalidInput, match="control character"):
                checked(key, f"a{character}b")

    def test_a_users_own_value_may_have_lines_and_tabs(self):
        assert checked("user:note", "one\n\ttwo\n").user_data == {"note": "one\n\ttwo\n"}

    @pytest.mark.parametrize("value", ["größe", "鍵", "😀", "a b", "'; DROP TABLE", "\\n", "${x}"])
    def test_every_other_character_is_kept_as_it_is(self, value):
        fields = for_create({"name": value, "user:k": value}, defaults=DEFAULTS)

        assert (fields.name, fields.user_data) == (value, {"k": value})

    @pytest.mark.parametrize("key", [*(f"user:a{c}b" for c in CONTROLS), "user:a b", "user:a\xa0b"])
    def test_a_users_own_key_has_no_blanks_and_no_control_characters(self, key):
        with pytest.raises(InvalidInput, match="a key has a"):
            checked(key, "x")

    def test_a_users_own_key_has_a_name(self):
        with pytest.raises(InvalidInput, match="needs a name"):
            checked("user:", "x")
        assert checked("user::", "x").user_data == {":": "x"}


class TestUserData:
    def test_an_empty_value_removes(self):
        assert created(**{"user:a": ""}).user_data == {"a": ""}
        assert merged_user_data({"a": "1", "b": "2"}, {"a": "", "c": ""}) == {"b": "2"}

    def test_what_is_not_named_stays(self):
        assert merged_user_data({"a": "1"}, {"b": "2"}) == {"a": "1", "b": "2"}

    @given(
        st.dictionaries(st.sampled_from("abcd"), st.text(max_size=3)),
        st.dictionaries(st.sampled_from("abcd"), st.text(max_size=3)),
    )
    def test_a_merge_is_the_changes_over_the_present_without_the_empty(self, present, changes):
        assert merged_user_data(present, changes) == {
            key: value for key, value in {**present, **changes}.items() if value
        }


class TestKeys:
    @pytest.mark.parametrize(
        "key", ["nodes", "smp", "Name", "NAME", "sizes", "tags:", "usr:x", "", "é", "cpu"]
    )
    def test_unknown_keys_are_ignored(self, key):
        assert checked(key, "anything\x00") == Fields(user_data={})
        assert for_set({key: "x"}, present=PRESENT) == Fields(user_data={})

    @pytest.mark.parametrize("key", RECORDED)
    def test_what_only_the_service_says_is_refused_at_create(self, key):
        with pytest.raises(InvalidInput, match=f"{key} cannot be set"):
            checked(key, "something else")

    @pytest.mark.parametrize("key", [*RECORDED, *ONLY_AT_CREATE])
    def test_what_cannot_be_set_is_refused_unless_it_is_so_already(self, key):
        for value in ("something else", "", "0"):
            if value == str(PRESENT.get(key, "")):
                continue
            with pytest.raises(InvalidInput, match=f"{key} cannot be set"):
                for_set({key: value}, present=PRESENT)

        assert for_set({key: str(PRESENT.get(key, ""))}, present=PRESENT) == Fields(user_data={})

    def test_a_whole_record_may_be_sent_back(self):
        pairs = {key: str(value) for key, value in PRESENT.items()}

        assert for_set(pairs, present=PRESENT) == Fields(name="web", size=4096, user_data={})

    def test_defaults_may_be_repeated_at_create(self):
        assert created(status="active", user=ONE) == Fields(user_data={})

    def test_the_first_wrong_key_in_their_order_is_named(self):
        with pytest.raises(InvalidInput, match="drive cannot be set"):
            for_set({"user": "x", "drive": "y"}, present=PRESENT)
