"""What a network's file says of how the network is used."""

from pathlib import Path

from deep_ecg.system.errors import DeepECGError


def check_made_for(path: Path, description: dict, **expected):
    """Compares what the network stored at `path` says of itself with the entries `expected` (mode, classes, features).

    Raises DeepECGError at the first that differs.
    """
    for name, value in expected.items():
        if description.get(name) != value:
            raise DeepECGError(
                f"checkpoint {path} was made for {name} {description.get(name)!r}, not {value!r}: choose the one "
                f"of that {name} or train it with `python main.py`"
            )
