"""The index of an archive: one page with the burden of each record, sortable, that opens each report."""

from collections.abc import Sequence
from urllib.parse import quote

COLUMNS = (  # name of the column, key of a row, format of a number; texts have none
    ("Record", "record", ""),
    ("Hours", "hours", ".2f"),
    ("Read %", "read_percent", ".1f"),
    ("Beats", "beats", ","),
    ("Rate, /min", "rate_per_min", ".0f"),
    ("V %", "v_percent", ".2f"),
    ("S %", "s_percent", ".2f"),
    ("V runs", "v_runs", ","),
    ("S runs", "s_runs", ","),
    ("Pauses", "pauses", ","),
    ("Trust", "trust", ""),
    ("Remarks", "remarks", ""),
)


def row_of(record: str, page: str | None = None, entry: dict | None = None, why: str | None = None) -> dict:
    """What the index says of a record, from its NAME.json, the `entry`, or `why` it failed.

    KeyError or TypeError where the entry is not of that kind.
    """
    if entry is None:
        return {"record": record, "page": None, "synthetic": False, "remarks": why}
    measures, summary = entry["measures"], entry["summary"]
    trained = bool(summary.get("trained_on"))
    ventricular, supraventricular = measures["ventricular"], measures["supraventricular"]
    return {
        "record": record,
        "page": page and quote(page.encode(errors="surrogateescape")),
        "synthetic": entry["synthetic"],
        "hours": measures["duration_s"] / 3600,
        "read_percent": measures["read_percent"],
        "beats": summary["beats"],
        "rate_per_min": measures["rate"]["mean_per_min"],
        "v_percent": ventricular["percent"],
        "s_percent": supraventricular["percent"],
        "v_runs": ventricular["runs"]["count"],
        "s_runs": supraventricular["runs"]["count"],
        "pauses": measures["pauses"]["count"],
        "trust": summary["trust"]["grade"],
        "remarks": "; ".join([*summary["trust"]["reasons"], *["the network was trained on it"] * trained]),
    }


def index_page(rows: Sequence[dict]) -> str:
    """The page of all `rows` (`row_of`); paths of reports are from the folder that it lies in."""
    from markupsafe import Markup

    from deep_ecg.report.page import encodable, template, text_of  # with jinja2, which rows do without

    page = template("index.html").render(
        rows=rows,
        columns=COLUMNS,
        synthetic=any(row["synthetic"] for row in rows),
        style=Markup(text_of("report.css")),
        script=Markup(text_of("index.js")),
    )
    return encodable(page)
