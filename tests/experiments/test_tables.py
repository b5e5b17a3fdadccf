"""README.md and docs/ say what results/ say: every table, no number of a result in the prose, every picture."""

import re
import shutil
from pathlib import Path

import pytest

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json, write_json
from experiments import IMAGES, RESULTS, ROOT
from experiments.tables import (
    BLOCK,
    MARK,
    PUBLISHED,
    VARIANTS,
    aims_table,
    all_tables,
    filled,
    pages,
    summary_table,
    write_tables,
)

PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in pages(ROOT)}
LOG = "docs/experiments.md"  # the log tells what was measured when
TABLES = all_tables(RESULTS)


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_what_the_results_say(page):
    assert filled(PAGES[page], TABLES, ROOT / page) == PAGES[page]


def test_every_table_stands_once():
    assert sorted(name for text in PAGES.values() for name in MARK.findall(text)) == sorted(TABLES)


@pytest.mark.parametrize("page", [page for page in PAGES if page != LOG])
def test_the_prose_states_no_result(page):
    """Scores, sizes and times of results stand in the tables alone, so that they cannot go stale."""
    prose = BLOCK.sub("", PAGES[page])
    found = re.findall(r"\d[\d,.]*\s*(?:%|per cent|points|µs|ms\b|MB\b|KB\b|bytes)", prose)
    assert set(found) <= {"90 MB"}  # the size of the published database


def test_every_picture_is_committed_and_every_committed_one_linked():
    linked = {
        (ROOT / page).parent.joinpath(link).resolve()
        for page, text in PAGES.items()
        for link in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", text)
    }
    assert linked == {path.resolve() for path in IMAGES.glob("*.png")}
    assert len(linked) >= 7


# Tables by hand ------------------------------------------------------------------------------------------------------


def report(accuracy: float, s_f1: float) -> dict:
    spread = {name: {"f1": {"mean": s_f1 if name == "S" else 0.5, "sd": 0.01, "n": 3}} for name in "SVF"}
    without = {"232": {"per_class": {"S": {"f1": {"mean": s_f1 / 2}}}}}
    return {
        "over_seeds": {
            "n": 3, "accuracy": {"mean": accuracy, "sd": 0.002, "n": 3}, "auc_micro": {"mean": 0.99},
            "per_class": spread, "without": without,
        },
        "ds2": {"n": 49712},
    }  # fmt: skip


@pytest.fixture
def reports() -> dict:
    scores = [(0.97, 0.8), (0.9696, 0.812), (0.98, 0.7), (0.96, 0.8)]
    return {variant: report(*pair) for variant, pair in zip(VARIANTS, scores)}


def test_the_aims_stand_beside_what_is_reached(reports):
    table = aims_table(reports).splitlines()
    assert VARIANTS[0] == ("diagnostic", "full")
    assert "| accuracy % | 98.0 | 97.0 | +0.0 | +1.0 | -1.0 |" in table
    assert "| S F1 % | 85.0 | 80.0 | +1.2 | -10.0 | +0.0 |" in table
    assert "| S F1 % without 232 | 60.0 | 40.0 | +0.6 | -5.0 | +0.0 |" in table


def test_the_summary_puts_the_networks_next_to_the_two_best_published_ones(reports):
    header, _, *rows, _, note = summary_table(reports).splitlines()
    assert header == "| DS2 | accuracy % | S F1 % | V F1 % |"
    assert rows[0] == "| Deep-ECG diagnostic, full | 97.0 ± 0.2 | 80.0 ± 1.0 | 50.0 ± 1.0 |"
    others = [f"| Deep-ECG {mode}, {preset}" for mode, preset in VARIANTS[1:]]
    assert [row.split(" | ")[0] for row in rows[1:4]] == others
    assert rows[4:] == ["| Farag 2023 | 98.2 | 82.1 | 95.3 |", "| Xu et al. 2022 | 98.5 | 82.8 | 91.7 |"]
    assert all(float(work[2]) < 82.1 for work in PUBLISHED if work[0] not in ("Farag 2023", "Xu et al. 2022"))
    assert note == "Mean ± sd of 3 trainings on the 49,712 beats of 22 patients; the last two as published."


# Filling ------------------------------------------------------------------------------------------------------------


def block(name: str, text: str, end: str | None = None) -> str:
    return f"<!-- {name}: rebuilt by `python -m experiments tables` -->\n{text}<!-- end of {end or name} -->\n"


def test_blocks_are_filled_and_all_else_stays():

    def page(one: str, two: str) -> str:
        return "# Title\n\n" + block("one", one) + "prose <!-- end of two -->\n" + block("two", two)

    tables = {"one": "| 1 |", "two": "| 2 |", "three": "| 3 |"}
    assert filled(page("old\nlines\n", ""), tables, Path("README.md")) == page("| 1 |\n", "| 2 |\n")


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (block("four", ""), "docs/x.md: there is no table four: mark one of one, two"),
        (block("one", "", end="two"), "docs/x.md: block one has no end: add <!-- end of one -->"),
        (block("one", "", end="two") + block("two", ""), "docs/x.md: block one has no end"),
    ],
)
def test_a_block_that_cannot_be_filled_is_told(page, told):
    with pytest.raises(DeepECGError, match=re.escape(told)):
        filled(page, {"one": "", "two": ""}, Path("docs/x.md"))


def copied(folder: Path) -> Path:
    """A copy of the pages and results in `folder`."""
    for name in ("results", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "README.md", folder)
    return folder


def test_tables_of_readme_and_docs_are_filled_from_the_results_beside_them(tmp_path):
    root = copied(tmp_path)
    (root / "docs" / "other.md").write_text(block("torchrun", "older\n"))
    (root / "README.md").write_text("# Title\n\n" + block("chain", "older\n"))
    path = root / "results" / "measured" / "torchrun.json"
    spreads = read_json(path)
    spreads["spreads"]["1"]["accuracy"] = {"mean": 0.12345, "sd": 0.0, "n": 5}
    write_json(path, spreads)
    write_tables(root)
    assert "| 1 | 12.3 ± 0.0 |" in (root / "docs" / "other.md").read_text()
    assert (root / "README.md").read_text() == "# Title\n\n" + block("chain", TABLES["chain"] + "\n")
    assert (root / LOG).read_text() == PAGES[LOG]


def test_where_one_page_is_wrong_none_is_written(tmp_path):
    root = copied(tmp_path)
    (root / "README.md").write_text(block("chain", "older\n"))
    (root / "docs" / "wrong.md").write_text(block("four", ""))
    with pytest.raises(DeepECGError, match="four"):
        write_tables(root)
    assert (root / "README.md").read_text() == block("chain", "older\n")
