"""Cross-validation, everything that is committed made anew, and every benchmark."""

import deep_ecg.requirements  # noqa: F401  # isort: skip - first: it says in one line what is missing

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
