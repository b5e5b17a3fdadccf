"""Cross-validation, everything that is committed made anew, and every measurement: `python -m experiments NAME`.

An experiment is a module here. Its docstring is its help, the first line of which stands in the list of all. It has
`run(options)`, and `add_options(parser)` where it has options of its own. A measurement names its REPORT, a file of
results/measured/: `run` then returns the report, `table(report)` gives it as lines of Markdown, and where there is a
picture of it, `draw(path, report)` makes that. The rest is done once for all, in __main__.py.
"""

import deep_ecg.requirements  # noqa: F401  # isort: skip - first: it says in one line what is missing

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS, IMAGES = ROOT / "results", ROOT / "images"
MEASURED = RESULTS / "measured"
