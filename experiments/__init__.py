"""Cross-validation, everything that is committed made anew, and every benchmark."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
