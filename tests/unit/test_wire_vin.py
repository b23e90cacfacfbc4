"""The check digit of vehicle identification numbers, by published examples."""

import pytest

from wire import vin

EXAMPLES = [
    pytest.param("1M8GDM9AXKP042788", id="the worked example of 49 CFR 565"),
    pytest.param("11111111111111111", id="the classic test number"),
    pytest.param("5GZCZ43D13S812715", id="a check digit that is a number"),
]


@pytest.mark.parametrize("known_good", EXAMPLES)
def test_published_numbers_pass(known_good):
    assert vin.fault(known_good) is None


@pytest.mark.parametrize("known_good", EXAMPLES)
def test_any_other_check_digit_fails(known_good):
    for digit in "0123456789X":
        changed = known_good[:8] + digit + known_good[9:]
        assert (vin.fault(changed) is None) == (digit == known_good[8])


@pytest.mark.parametrize(
    ("characters", "values"),
    [
        ("0123456789", range(10)),
        ("ABCDEFGH", range(1, 9)),
        ("JKLMN", range(1, 6)),
        ("P", [7]),
        ("R", [9]),
        ("STUVWXYZ", range(2, 10)),
    ],
)
def test_each_character_counts_as_in_table_iii_of_the_regulation(characters, values):
    """49 CFR 565.15 (c): alone at the second position it counts seven times."""
    for character, value in zip(characters, values, strict=True):
        remainder = 7 * value % 11
        assert vin.check_digit(f"0{character}000000000000000") == ("X" if remainder == 10 else str(remainder))


@pytest.mark.parametrize(("position", "weight"), list(enumerate([8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2])))
def test_each_position_weighs_as_in_table_iv_of_the_regulation(position, weight):
    number = "0" * position + "1" + "0" * (16 - position)
    assert vin.check_digit(number) == ("X" if weight == 10 else str(weight))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "1M8GDM9AXKP04278",
        "1M8GDM9AXKP0427889",
        "1m8gdm9axkp042788",
        "IM8GDM9AXKP042788",
        "OM8GDM9AXKP042788",
        "QM8GDM9AXKP042788",
        "1M8GDM9AXKP04278A",
        "1M8GDM9AXKP042788\n",
        "１M8GDM9AXKP042788",
        "1M8GDM9AXKP04278\0",
    ],
)
def test_what_has_not_the_shape_of_a_number_fails(wrong):
    assert "17 characters" in (vin.fault(wrong) or "")


def test_the_fault_does_not_repeat_the_number():
    """A VIN is personal data, and faults are logged."""
    fault = vin.fault("1M8GDM9A1KP042788")
    assert fault is not None
    assert "KP042788" not in fault
    assert "1M8GDM9A" not in fault
