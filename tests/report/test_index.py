"""The index of an archive."""

import re

from deep_ecg.report.index import index_page, row_of

ENTRY = {
    "synthetic": False,
    "summary": {"beats": 1234, "trust": {"grade": "low", "reasons": ["no <beats> in 40 % of the record"]}},
    "measures": {
        "duration_s": 5400.0,
        "read_percent": 60.0,
        "rate": {"mean_per_min": None},
        "ventricular": {"percent": 12.345, "runs": {"count": 7}},
        "supraventricular": {"percent": 0.5, "runs": {"count": 0}},
        "pauses": {"count": 2},
    },
}


def cells(html: str, record: str) -> list[str]:
    row = next(row for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if f'data-v="{record}"' in row)
    return [" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]


def test_a_row_holds_the_burden_and_opens_the_report():
    html = index_page([row_of("ward 2/100", "ward 2/100.html", ENTRY), row_of("b", why="b cannot be read")])
    assert cells(html, "ward 2/100") == [
        "ward 2/100", "1.50", "60.0", "1,234", "-", "12.35", "0.50", "7", "0", "2", "low",
        "no &lt;beats&gt; in 40 % of the record",
    ]  # fmt: skip
    assert '<a href="ward%202/100.html">' in html and html.count("<a href") == 1
    assert cells(html, "b")[-2:] == ["failed", "b cannot be read"]
    assert "SYNTHETIC" not in html and html.count("medical device") == 1


def test_synthetic_records_are_stamped():
    trained = ENTRY["summary"] | {"trained_on": "MIT-BIH 208"}
    html = index_page([row_of("a", "a-SYNTHETIC.html", ENTRY | {"synthetic": True, "summary": trained})])
    assert cells(html, "a")[-1].endswith("; the network was trained on it")
    assert cells(html, "a")[0] == "a (SYNTHETIC)" and "<title>SYNTHETIC " in html


def test_names_of_any_bytes():
    """A record's name that is no UTF-8, as the file system has it."""
    html = index_page([row_of("a\udcff", "a\udcff.html", ENTRY)])
    assert '<a href="a%FF.html">a\ufffd</a>' in html and html.encode()


def test_names_are_text():
    html = index_page([row_of("<img src=x>", "<img src=x>.html", ENTRY)])
    assert "<img" not in html
