"""Numbers and tables as text."""

import pytest

from deep_ecg.system.text import markdown_table, mean_sd_text, number, percent


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.12345), "12.3"),
        (percent(0.12345, 2), "12.35"),
        (percent(None), "-"),
        (number(1234567), "1,234,567"),
        (number(0.98765, ".2f"), "0.99"),
        (number(None), "-"),
        (number(0), "0"),
    ],
)
def test_numbers(shown, expected):
    assert shown == expected


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        ({"mean": 0.5, "sd": 0.0123, "n": 3}, "50.0 ± 1.2"),
        ({"mean": 0.5, "sd": None, "n": 3}, "50.0"),
        ({"mean": 0.5, "sd": 0.01, "n": 2}, "50.0 ± 1.0 (2 of 3 seeds)"),
        ({"mean": None, "sd": None, "n": 0}, "-"),
        (None, "-"),
    ],
)
def test_mean_and_sd(spread, expected):
    assert mean_sd_text(spread, seeds=3) == expected


def test_a_spread_that_is_no_fraction():
    assert mean_sd_text({"mean": 0.99812, "sd": 0.0002, "n": 5}, 5, scale=1.0, digits=4) == "0.9981 ± 0.0002"


def test_a_table_aligns_its_numbers_and_keeps_bars_within_their_cell():
    assert markdown_table(["name", "n"], (row for row in [["a|b", 1], ["c", 2.5]])) == [
        "| name | n |",
        "| --- | ---: |",
        "| a\\|b | 1 |",
        "| c | 2.5 |",
    ]
