"""README.md and docs/: short, and of today's files and commands. What their tables hold: experiments/test_tables.py."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import deep_ecg
import main
from tests.support import ROOT

README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"<!-- (\w+): rebuilt by `python -m experiments tables` -->\n(.*?)<!-- end of \1 -->", re.DOTALL)
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s]+)\)")
ENDS_OF_COMMAND = {"#", "|", "&&", ";", "<"}

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def whole(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return BLOCK.sub("", whole(page))


def anchors(page: Path) -> set[str]:
    """What a link to a part of `page` may name: its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", whole(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(program: str) -> list[list[str]]:
    """The arguments of every call of `program` in the code blocks of all pages."""
    lines = [line for page in PAGES for block in FENCE.findall(prose(page)) for line in block.splitlines()]
    found = [shlex.split(line.partition(program)[2]) for line in lines if re.search(rf"(^|\s){program}(\s|$)", line)]
    return [words[: next((i for i, word in enumerate(words) if word in ENDS_OF_COMMAND), None)] for words in found]


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= 8000


@by_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page):
    for _, _, target in LINK.findall(whole(page)):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_can_be_reached_from_the_readme():
    linked = {(ROOT / target).resolve() for _, _, target in LINK.findall(whole(README))}
    assert set(PAGES[1:]) <= linked


def test_every_picture_is_shown_once_and_described():
    shown = [(text, page.parent / target) for page in PAGES for mark, text, target in LINK.findall(whole(page)) if mark]
    assert len(shown) == len({path.resolve() for _, path in shown}) >= 7
    assert all(len(text.split()) >= 5 for text, _ in shown)


def test_the_readme_has_one_table_of_results_for_each_protocol():
    assert [name for name, _ in BLOCK.findall(whole(README))] == ["summary", "shipped"]


@by_page
def test_python_files_that_are_named_are_there(page):
    for name in re.findall(r"`([\w/]+\.py)`", prose(page)):
        assert (ROOT / name).is_file() or (ROOT / "deep_ecg" / name).is_file(), name


def test_experiments_that_are_named_are_those_that_there_are():
    table = whole(ROOT / "docs" / "results.md").partition("## Made anew")[2]
    named = re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)))
    modules = {path.stem.replace("_", "-") for path in (ROOT / "experiments").glob("[!_]*.py")}
    assert sorted(named) == sorted(set(named))
    assert set(named) <= modules
    for page in PAGES:
        assert set(re.findall(r"python -m\s+experiments ([a-z][a-z-]+)", prose(page))) <= modules


@pytest.mark.parametrize("arguments", commands("sh run.sh") + commands("main.py"), ids=" ".join)
def test_commands_that_are_shown_are_ones_that_main_takes(arguments):
    parsed = vars(main.parser().parse_args(arguments))
    assert ("command" in parsed) == any(word.isalpha() for word in arguments[:1])


def test_the_readme_has_seven_commands_and_the_two_that_start_everything():
    assert {"run.sh", "test.sh"} <= set(re.findall(r"^sh (\w+\.sh)", whole(README), re.MULTILINE))
    shown = FENCE.findall(whole(README).partition("## Seven commands")[2])[0].splitlines()
    assert len([line for line in shown if not line.startswith("for ")]) == 7


def test_what_it_is_not_is_said_once():
    texts = [" ".join(whole(page).split()) for page in PAGES]
    assert [text.count("medical device") for text in texts] == [1] + [0] * (len(texts) - 1)


def test_the_version_is_the_same_wherever_it_stands():
    version = tomllib.loads(whole(ROOT / "pyproject.toml"))["project"]["version"]
    assert deep_ecg.__version__ == version
    assert f"\nversion: {version}\n" in whole(ROOT / "CITATION.cff")
    latest = re.search(r"^## \[([\d.]+)\]", whole(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert latest[1] == version
