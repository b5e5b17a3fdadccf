"""Cross-validation, everything that is committed made anew, and every measurement of this project."""

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from deep_ecg.system import console
from deep_ecg.system.files import check_writable
from deep_ecg.system.json_files import write_json
from deep_ecg.training import processes
from experiments import IMAGES, MEASURED

EXPERIMENTS = {  # each name, whose module has _ for -, and what is said after Ctrl-C
    "crossvalidation": "Interrupted: the ideas that were done are in the report.",
    "reproduce": console.GOES_ON,
    "tables": console.FILES_WHOLE,
    "answers": console.NOTHING_WRITTEN,
    "convert": console.FILES_WHOLE,
    "trained-on": console.FILES_WHOLE,
    "detector": console.GOES_ON,
    "detectors": console.NOTHING_WRITTEN,
    "chain": console.NOTHING_WRITTEN,
    "streaming": console.NOTHING_WRITTEN,
    "faults": console.NOTHING_WRITTEN,
    "endurance": console.NOTHING_WRITTEN,
    "look-ahead": console.NOTHING_WRITTEN,
    "calibration": console.NOTHING_WRITTEN,
    "trust": console.NOTHING_WRITTEN,
    "rhythm": console.FILES_WHOLE,
    "outside": console.NOTHING_WRITTEN,
    "noise-stress": console.NOTHING_WRITTEN,
    "embedded": console.NOTHING_WRITTEN,
    "archive-speed": console.NOTHING_WRITTEN,
    "record-speed": console.NOTHING_WRITTEN,
    "growth": console.NOTHING_WRITTEN,
    "torchrun": console.GOES_ON,
    "speed": console.NOTHING_WRITTEN,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, see `console.exit_status`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description=f"{__doc__}\n\n{listing()}",
        epilog="`python -m experiments NAME --help` shows its options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", choices=EXPERIMENTS, metavar="NAME [options]", help="one of these")
    name = parser.parse_args(arguments[:1]).name
    if name is None:
        parser.print_help()
        return 0
    return console.exit_status(lambda: experiment(name, arguments[1:]), EXPERIMENTS[name])


def listing() -> str:
    """All names with the first line of each module's docstring, which is read without importing the module."""
    return "\n".join(f"{name:16} {first_line(name)}" for name in EXPERIMENTS)


def first_line(name: str) -> str:
    """The first line of the docstring of the experiment `name`."""
    source = Path(__file__).with_name(f"{module_name(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def module_name(name: str) -> str:
    """The name of the module of the experiment `name`."""
    return name.replace("-", "_")


def experiment(name: str, arguments: Sequence[str]):
    """Runs the experiment `name`; of a measurement, writes the report, draws its picture and prints its table."""
    module = importlib.import_module(f"experiments.{module_name(name)}")
    options = parser_of(name, module).parse_args(arguments)
    processes.refuse()
    measures = hasattr(module, "REPORT")
    if measures:
        check_writable(options.out.parent)  # before what may take hours
    report = module.run(options)
    if not measures or report is None:
        return
    write_json(options.out, report)
    if hasattr(module, "draw"):
        module.draw(picture_of(options.out), report)
    print("\n".join(module.table(report)))


def parser_of(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """The options of the experiment `name`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments {name}", description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    if hasattr(module, "add_options"):
        module.add_options(parser)
    if hasattr(module, "REPORT"):
        about = f"the report (default results/measured/{module.REPORT})"
        if hasattr(module, "draw"):
            about += "; its picture lies beside any other FILE"
        parser.add_argument("--out", type=Path, default=MEASURED / module.REPORT, metavar="FILE", help=about)
    return parser


def picture_of(report: Path) -> Path:
    """Where the picture of the report at this path goes: images/ for one of results/measured/, else beside it."""
    folder = IMAGES if report.parent.resolve() == MEASURED else report.parent
    return folder / f"{report.stem}.png"


if __name__ == "__main__":
    sys.exit(main())
