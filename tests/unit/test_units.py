"""Sizes: what is a byte count and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.units import OFFSET_MAX, format_size, parse_size, round_up

FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

# Every number here is one for Python's int(), or nearly; none is one for the API.
NO_COUNTS = [
    "",
    " ",
    "-1",
    "+1",
    "-0",
    " 1",
    "1 ",
    "1\n",
    "\t1",
    "1_000",
    "_1",
    "0x10",
    "0b1",
    "0o7",
    "1e3",
    "1.0",
    ".5",
    "1,000",
    "\u0663",  # an Arabic three
    "\uff11\uff12",  # full-width digits
    "१२",
    "²",
    "Ⅷ",
    "1\u0663",
    "k",
    "M",
    "4MB",
    "4Mi",
    "4 M",
    "4mm",
    "4P",
    "4E",
    "4b",
    "4\u212a",  # the Kelvin sign, whose lower case is k
    "4\0",
    "%31",
    "nan",
    "inf",
    "None",
]


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("0", 0),
            ("1", 1),
            ("4194304", 2**22),
            ("4M", 2**22),
            ("4m", 2**22),
            ("1k", 2**10),
            ("1K", 2**10),
            ("12G", 12 * 2**30),
            ("8388607T", 8388607 * 2**40),
            ("0t", 0),
            ("9223372036854775807", OFFSET_MAX),
        ],
    )
    def test_digits_and_one_letter_are_a_byte_count(self, text, size):
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", NO_COUNTS)
    def test_nothing_else_is_one(self, text):
        with pytest.raises(ValueError, match="is not a byte count"):
            parse_size(text)

    @pytest.mark.parametrize("zeros", [1, 19, 20, 21, 1000, 100_000])
    @pytest.mark.parametrize(("text", "size"), [("0", 0), ("7", 7), ("1k", 2**10)])
    def test_zeros_in_front_do_not_count_however_many_there_are(self, text, size, zeros):
        assert parse_size("0" * zeros + text) == size

    @pytest.mark.parametrize(
        "text",
        [
            str(OFFSET_MAX + 1),
            str(2**64),
            "8388608T",
            "9999999999999999999",
            "10000000000000000000",
            "1" + "0" * 400,
            "9" * 1_000_000,
            "0" * 100_000 + str(OFFSET_MAX + 1),
        ],
        ids=lambda text: text[:24],
    )
    def test_a_count_past_the_largest_offset_is_refused_in_few_words(self, text):
        with pytest.raises(ValueError, match="is past the largest byte count") as refusal:
            parse_size(text)

        assert len(str(refusal.value)) < 150

    @pytest.mark.parametrize("text", ["x" * 1_000_000, "1" * 1_000_000 + "x"])
    def test_a_long_text_is_refused_in_few_words(self, text):
        with pytest.raises(ValueError, match="is not a byte count") as refusal:
            parse_size(text)

        assert len(str(refusal.value)) < 150

    @given(st.integers(0, 2**70), st.sampled_from(["", *"kKmMgGtT"]))
    def test_every_number_is_its_value_or_too_large(self, number, suffix):
        size = number * FACTORS[suffix.lower()]
        if size <= OFFSET_MAX:
            assert parse_size(f"{number}{suffix}") == size
        else:
            with pytest.raises(ValueError):
                parse_size(f"{number}{suffix}")

    @given(st.text(max_size=6))
    def test_any_text_is_a_count_by_the_letter_of_the_contract_or_refused(self, text):
        digits = text[:-1] if text[-1:] in set("kKmMgGtT") else text
        if digits and set(digits) <= set("0123456789"):
            assert parse_size(text) >= 0
        else:
            with pytest.raises(ValueError):
                parse_size(text)


class TestFormatting:
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (4 * 2**20, "4 MiB"),
            (12 * 2**30 + 2**29, "12.5 GiB"),
            (2**40, "1 TiB"),
            (5000 * 2**40, "5000 TiB"),
            (OFFSET_MAX, "8388608 TiB"),
        ],
    )
    def test_sizes_are_short_for_people(self, size, text):
        assert format_size(size) == text

    @given(st.integers(0, OFFSET_MAX))
    def test_a_formatted_size_is_within_a_twentieth_of_its_unit(self, size):
        number, unit = format_size(size).split(" ")
        factor = FACTORS[unit.removesuffix("iB").removesuffix("B").lower()]

        assert abs(float(number) * factor - size) <= factor * 0.0501
        assert factor == 1 or size >= factor

    @given(st.integers(1, 1023), st.sampled_from("KMGT"))
    def test_whole_units_are_read_back(self, number, unit):
        size = parse_size(f"{number}{unit}")

        assert format_size(size) == f"{number} {unit}iB"


@given(st.integers(0, OFFSET_MAX), st.integers(1, 2**30))
def test_rounding_up_gives_the_next_multiple(value, multiple):
    rounded = round_up(value, multiple)

    assert rounded % multiple == 0
    assert value <= rounded < value + multiple
