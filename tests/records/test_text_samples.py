"""Samples from lines of text: the forms that loggers, serial ports and spreadsheets give, and lines that are none."""

import numpy as np
import pytest

from deep_ecg.records.text_samples import HELD_LINES, LINE_BYTES, SampleLines
from deep_ecg.system.errors import DeepECGError

NAN = float("nan")
VALUES = [0.25, -0.5, -1.0, 0.125, 3.0, -0.75, 0.5, 0.0, 1.5, -1.25, 0.375, 2.0]


def read(text: str | bytes, size: int = 100_000, column: str | None = None) -> list[float]:
    data = text.encode() if isinstance(text, str) else text
    lines = SampleLines("the text", column)
    samples = [lines.push(data[start : start + size]) for start in range(0, len(data), size)]
    return np.concatenate([*samples, lines.finish()]).tolist()


def comma(value: float) -> str:
    return f"{value:g}".replace(".", ",")


UTF_16 = "time\tECG\n" + "".join(f"{4 * place}\t{value}\n" for place, value in enumerate(VALUES))
FORMS = {
    "UTF-16": UTF_16.encode("utf-16"),
    "UTF-16 without a mark": UTF_16.encode("utf-16-le"),
    "one value a line": "".join(f"{value}\n" for value in VALUES),
    "no last line end": "\n".join(map(str, VALUES)),
    "CRLF": "".join(f"{value}\r\n" for value in VALUES),
    "a byte order mark": "\ufeff" + "".join(f"{value}\n" for value in VALUES),
    "exponents": "".join(f"{value:e}\n" for value in VALUES),
    "a name before them": "ECG\n" + "".join(f"{value}\n" for value in VALUES),
    "decimal commas": "".join(f"{value:.4f}\n".replace(".", ",") for value in VALUES),
    "decimal commas, whole numbers without": "".join(f"{comma(value)}\n" for value in VALUES),
    "time,value": "".join(f"{4 * place},{value}\n" for place, value in enumerate(VALUES)),
    "time and value by white space": "".join(f"{place / 250:.3f}  {value}\n" for place, value in enumerate(VALUES)),
    "the same, decimal commas": "".join(f"{comma(place / 250)} {comma(value)}\n" for place, value in enumerate(VALUES)),
    "time;value, decimal commas": "".join(
        f"{comma(place / 250)};{comma(value)}\n" for place, value in enumerate(VALUES)
    ),
    "tabs, named": "time\tvalue\n" + "".join(f"{place}\t{value}\n" for place, value in enumerate(VALUES)),
    "names in any order": "ecg,time\n" + "".join(f"{value},{place}\n" for place, value in enumerate(VALUES)),
    "lead II of several": "t,V1,II\n" + "".join(f"{place},7,{value}\n" for place, value in enumerate(VALUES)),
    "an index without a name": ",ecg\n" + "".join(f"{place},{value}\n" for place, value in enumerate(VALUES)),
    "names and units in quotes": "'sample interval','MLII'\n'0.004 sec','mV'\n"
    + "".join(f"'0:00.{4 * place:03}',{value}\n" for place, value in enumerate(VALUES)),
    "times of day": "".join(f"2026-03-04 10:00:00.{4 * place:03},{value}\n" for place, value in enumerate(VALUES)),
    "a title and comments": "Logger 3\n\n# made by hand\nmillis,ecg_raw\n"
    + "".join(f"{place},{value}\n# on\n" for place, value in enumerate(VALUES)),
    "a logger that starts anew": "time,ecg\n"
    + "time,ecg\n".join(f"{place},{value}\n" for place, value in enumerate(VALUES)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_every_form_gives_the_samples(form, size):
    assert read(FORMS[form], size) == VALUES


@pytest.mark.parametrize("word", ["!", "", "nan", "NaN", " null ", "NA", "-", "?"])
def test_a_line_of_nothing_is_a_lost_sample(word):
    np.testing.assert_array_equal(read(f"1\n2\n{word}\n4\n"), [1, 2, NAN, 4])
    np.testing.assert_array_equal(read(f"time,ecg\n0,1\n4,{word}\n8,3\n"), [1, NAN, 3])


def test_a_lead_that_is_off_from_the_start_counts_in_time():
    np.testing.assert_array_equal(read("!\n!\n2000\n2001\n"), [NAN, NAN, 2000, 2001])
    np.testing.assert_array_equal(read("time,ecg\n!\n0,1\n"), [NAN, 1])
    np.testing.assert_array_equal(read("0,1\n!\n8,2\n12,2\n"), [1, NAN, 2, 2])


def test_whole_times_and_values_are_told_from_decimal_commas():
    assert read("".join(f"{4 * place},{2000 + place}\n" for place in range(20))) == [
        2000 + place for place in range(20)
    ]
    assert read("3\n0,5\n-2\n") == [3, 0.5, -2]
    assert read("0,512\n0,513\n0,514\n") == [0.512, 0.513, 0.514]


def test_samples_are_given_as_their_lines_come():
    lines = SampleLines("the text")
    assert lines.push(b"1\n").tolist() == [1] and lines.push(b"2\n3").tolist() == [2]
    assert lines.push(b"\n").tolist() == [3]
    pairs = SampleLines("the text")
    given = [len(pairs.push(b"%d,5\n" % place)) for place in range(HELD_LINES + 2)]
    assert given == [0] * (HELD_LINES - 1) + [HELD_LINES, 1, 1]


def test_a_column_is_chosen_by_name_or_number():
    text = "a,b,c\n1,2,3\n4,5,6\n"
    assert read(text, column="B") == [2, 5] and read(text, column="3") == [3, 6]
    assert read("1 2 3\n", column="1") == [1]
    for wrong in ("d", "0", "4", "-1"):
        with pytest.raises(DeepECGError, match=f"no column '{wrong}': it has a, b, c"):
            read(text, column=wrong)


@pytest.mark.parametrize("text", ["1,2,3\n4,5,6\n", "time,one,two\n0,1,2\n", "5.5;7.5\n5.5;8.5\n", "3 1\n2 1\n7 1\n"])
def test_several_values_that_tell_nothing_are_refused_with_the_mend(text):
    with pytest.raises(DeepECGError, match="line [12]: it holds .*--column NUMBER or NAME"):
        read(text)


@pytest.mark.parametrize("bad", ["1_000", "abc", "1.2.3", "0x10", "inf", "1e999", "٣", "1 2", "1,2", "9" * 5000, "\0"])
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_wrong_line_is_named_after_the_samples_before_it(bad, size):
    data, lines, seen = f"0.5\n1.5\n{bad}\n2.5\n".encode(), SampleLines("the text"), []
    with pytest.raises(DeepECGError, match=r"^the text, line 3: '.*' is no number: one value a line"):
        for start in range(0, len(data), size):
            seen += lines.push(data[start : start + size]).tolist()
    assert seen + lines.rescued().tolist() == [0.5, 1.5]


def test_a_wrong_line_is_named_in_plain_blocks_too():
    lines = SampleLines("the text")
    assert len(lines.push(b"1\n" * 1000)) == 1000 and len(lines.push(b"2\n" * 1000)) == 1000
    with pytest.raises(DeepECGError, match="line 2002: '1-2' is no number"):
        lines.push(b"3\n1-2\n3\n")
    assert lines.rescued().tolist() == [3]


@pytest.mark.parametrize(
    "text", ["1_000\n", "--\n1\n", "no number at all\n", "x" * (LINE_BYTES + 1), "a\n" + "b\n" * 30]
)
def test_text_that_holds_no_samples_is_refused(text):
    with pytest.raises(DeepECGError, match="is no number"):
        read(text)


def test_a_line_of_another_count_is_refused():
    with pytest.raises(DeepECGError, match=r"line 3: '8,1,1' is no line of 2 values"):
        read("time,ecg\n0,1\n8,1,1\n")


def test_nothing_is_no_samples():
    assert read("") == [] and read("\n\n") == []
