"""What a network's file says of the network: everything by which it is used.

Files of torch and of ONNX hold the same description in the same format, and one decoder reads it.
"""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from config import DATA_SOURCES, Config, with_overrides
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.networks import temperature
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.prior import SHARE_RANGE
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.settings import check_kinds

FORMAT = 2  # of a network's file
OLD_FORMAT = 1  # which `python -m experiments convert` reads
RATES_HZ = (50.0, 5000.0)  # below, the QRS is lost; above, nothing is recorded from the skin
MOST_WINDOW_S, MOST_ORDER = 10, 10
SOURCES = DATA_SOURCES[1:]  # "auto" is what may be asked for
MOST_VALUES = 2000  # that a description may hold
MOST_LETTERS = 100  # of a name in it


@dataclass(frozen=True)
class Description:
    """A trained network, but for its weights.

    The features are in the order of the network's input, the classes in that of its outputs, the leads in that of
    preference. `data_source` is the database that it learned from, `training` the settings by which it did, as far as
    its use does not depend on them: they are kept for the record.
    """

    preset: str
    classes: tuple[str, ...]
    features: tuple[str, ...]
    leads: tuple[str, ...]
    inputs: InputSettings
    decision: DecisionSettings
    data_source: str
    seed: int
    training: dict = field(default_factory=dict, hash=False)

    @property
    def mode(self) -> str:
        """What its inputs may know of the future: see `Config.mode`."""
        return self.inputs.mode

    @property
    def synthetic(self) -> bool:
        """Whether it learned from SYNTHETIC data."""
        return self.data_source == "synthetic"

    def as_json(self) -> dict:
        """The description as plain values, which `decoded` reads."""
        return json.loads(json.dumps(asdict(self)))

    def applied_to(self, config: Config) -> Config:
        """A copy of `config` by which beats are made and labelled as this network asks, but for the temperature."""
        return with_overrides(
            config,
            preset=self.preset,
            lead=self.leads[0],
            other_leads=self.leads[1:],
            s_prior_weight=self.decision.s_prior_weight,
            v_prior_weight=self.decision.v_prior_weight,
            rhythm_weight=self.decision.rhythm_weight,
            **asdict(self.inputs),
        )

    def check_made_for(self, path: Path, **expected):
        """Compares this description, of the file at `path`, with the entries `expected` (mode, classes, features).

        Raises DeepECGError at the first that differs.
        """
        for name, value in expected.items():
            if getattr(self, name) != value:
                raise DeepECGError(
                    f"checkpoint {path} was made for {name} {getattr(self, name)!r}, not {value!r}: choose the one "
                    f"of that {name} or train it with `python main.py`"
                )


def decoded(path: Path, version: Any, stored: Any) -> Description:
    """The description that the network's file at `path` holds as `stored`, in the format `version`.

    Raises DeepECGError when that is an old format or none, or when an entry is missing, unknown, of another kind or
    beyond reason.
    """
    if type(version) is int and version == OLD_FORMAT:
        raise DeepECGError(
            f"{path} is a network of an older Deep-ECG: `python -m experiments convert {path}` makes it one of today's"
        )
    if type(version) is not int or version != FORMAT or not is_plain(stored):
        raise DeepECGError(
            f"{path} is no network of this version of Deep-ECG: train one with `python main.py`, and build its ONNX "
            "file with `python quantize.py`"
        )
    try:
        description = _read(Description, _with_later_entries(stored))
        _check_values(description)
    except DeepECGError as error:
        raise DeepECGError(f"checkpoint {path}: {error}: train it again") from None
    return description


def is_plain(value: Any) -> bool:
    """Whether `value` is made of no more than MOST_VALUES texts, numbers, lists and dicts."""
    waiting, count = [value], 0
    while waiting:
        value, count = waiting.pop(), count + 1
        if isinstance(value, dict | list | tuple):
            if count + len(waiting) + 2 * len(value) > MOST_VALUES:
                return False
            waiting += [*value.keys(), *value.values()] if isinstance(value, dict) else value
        elif not (value is None or isinstance(value, str | bool | int | float)):
            return False
    return True


def _with_later_entries(stored: Any) -> Any:
    """`stored` with what files of FORMAT need not say, as it was before they could."""
    if not isinstance(stored, dict):
        return stored
    completed = {"training": {}, **stored}
    if isinstance(decision := stored.get("decision"), dict):
        completed["decision"] = {"rhythm_weight": 0.0, **decision}
    return completed


def _read(kind: Any, stored: Any) -> Any:
    """An instance of the dataclass `kind` from `stored`, as `asdict` and JSON have left it."""
    names = [entry.name for entry in fields(kind)]
    missing = [name for name in names if not isinstance(stored, dict) or name not in stored]
    if missing:
        raise DeepECGError(f"it does not say how it is used ({missing[0]})")
    if unknown := [name for name in stored if name not in names]:
        raise DeepECGError(f"it says {unknown[0]!r}, which is unknown")
    read = kind(**{entry.name: _value(entry.type, stored[entry.name]) for entry in fields(kind)})
    check_kinds(read)
    return read


def _value(kind: Any, stored: Any) -> Any:
    if is_dataclass(kind):
        return _read(kind, stored)
    return tuple(stored) if isinstance(stored, list) else stored


def _check_values(said: Description):
    """Raises DeepECGError at the first value that the settings of config.py may not have, or that is beyond reason."""
    for name in (*said.classes, *said.features, *said.leads):
        if not (name.isprintable() and 0 < len(name) <= MOST_LETTERS):
            raise DeepECGError(f"{name[:MOST_LETTERS]!r} is no name of a class, feature or lead")
    if not (said.classes and said.features and said.leads):
        raise DeepECGError("it names no class, no feature or no lead")
    said.applied_to(Config())
    inputs, decision = said.inputs, said.decision
    rules = (
        (inputs, "fs_hz", _within(RATES_HZ, inputs.fs_hz), "from 50 to 5000"),
        (inputs, "window_samples", inputs.window_samples <= MOST_WINDOW_S * inputs.fs_hz, f"{MOST_WINDOW_S} s at most"),
        (inputs, "filter_order", inputs.filter_order <= MOST_ORDER, f"{MOST_ORDER} at most"),
        (decision, "temperature", _within(temperature.LIMITS, decision.temperature), "from 0.05 to 20"),
        (decision, "s_usual_share", _within(SHARE_RANGE, decision.s_usual_share), "from 0.01 to 0.3"),
        (said, "data_source", said.data_source in SOURCES, f"one of {', '.join(SOURCES)}"),
        (said, "seed", said.seed >= 0, "0 or more"),
    )
    for part, name, holds, need in rules:
        if not holds:
            raise DeepECGError(f"setting {name} = {getattr(part, name)!r} cannot be used: it must be {need}")


def _within(limits: tuple[float, float], value: float) -> bool:
    return limits[0] <= value <= limits[1]
