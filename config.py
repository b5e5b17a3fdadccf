"""Settings of Deep-ECG: edit the values below, then run `python main.py`.

Every value is a plain assignment with its reason. The command line (`python main.py --help`) overrides a few of
them for one run; nothing else changes them. Importing this module does nothing.
"""

import inspect
import math
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args, get_origin

CLASSES = ("N", "S", "V", "F", "Q")  # AAMI EC57 beat classes, in the order of the network's five outputs
DATA_DIR_VARIABLE = "DEEP_ECG_DATA_DIR"

MODES = ("diagnostic", "causal")
DATA_SOURCES = ("auto", "local", "physionet", "synthetic")
LONGEST_MESSAGE = 1000


class DeepECGError(ValueError):
    """A wrong input or setting. The message is one line that names it and the mend; entry points exit with 2.

    What cannot be printed becomes a space, for names come from files of others, and a very long line is cut.
    """

    def __init__(self, message: str):
        line = "".join(letter if letter.isprintable() else " " for letter in message[:LONGEST_MESSAGE])
        super().__init__(line + "..." * (len(message) > LONGEST_MESSAGE))


class PartlyDone(DeepECGError):
    """Some of many inputs were wrong and left out, the others are done; entry points exit with 3."""


@dataclass(frozen=True)
class ModelPreset:
    """Shape of `HybridECGNet` and of its training."""

    channels: tuple[int, int, int]
    kernels: tuple[int, int, int]
    flatten: bool  # True: the flattened feature map joins the pooled features
    feature_hidden: int
    hidden: int
    flatten_dropout: float
    wave_dropout: float  # share of the training beats for which the head sees the features alone
    epochs: int
    learning_rate: float


PRESETS = {
    # About 1.2 million parameters: 4.7 MB in fp32, 1.3 MB in dynamic int8. The flatten head alone overfits the 22
    # patients, so it is regularised by its own dropout and joined by the pooled features.
    "full": ModelPreset(
        channels=(32, 64, 128),
        kernels=(7, 5, 3),
        flatten=True,
        feature_hidden=64,
        hidden=256,
        flatten_dropout=0.9,
        wave_dropout=0.2,
        epochs=4,
        learning_rate=3e-3,
    ),
    # For microcontrollers: the weights fit 15 KB in int8.
    "edge": ModelPreset(
        channels=(8, 16, 32),
        kernels=(9, 5, 5),
        flatten=False,
        feature_hidden=32,
        hidden=48,
        flatten_dropout=0.0,
        wave_dropout=0.5,
        epochs=8,
        learning_rate=3e-3,
    ),
}


# Logits are divided by it before the softmax, so that of the beats that get p as probability of their label a share of
# about p is right; no label changes. Fitted by `crossvalidation.py --temperature` on held-out patients of DS1; to be
# fitted again when anything of the training changes.
TEMPERATURES = {
    ("diagnostic", "full"): 0.657,
    ("diagnostic", "edge"): 0.827,
    ("causal", "full"): 0.663,
    ("causal", "edge"): 0.813,
}


@dataclass(frozen=True)
class Config:
    """All settings of one run. Raises DeepECGError when a value cannot be used."""

    # What to run -----------------------------------------------------------------------------------------------
    mode: str = "diagnostic"  # "diagnostic": post-RR known, one beat of lag; "causal": nothing after the look-ahead
    preset: str = "full"  # "full" (1.2 M parameters) or "edge" (weights within 15 KB in int8)
    seeds: tuple[int, ...] = (0,)  # one training per seed; results are then mean and sd

    # Where the data come from -----------------------------------------------------------------------------------
    data_source: str = "auto"  # "auto": local folder, else PhysioNet, else SYNTHETIC with a banner
    data_dir: str = "mitdb"  # the environment variable DEEP_ECG_DATA_DIR goes before this value
    physionet_url: str = "https://physionet.org/files/mitdb/1.0.0/"
    lead: str = "MLII"  # chosen by name: record 114 carries MLII as its second signal
    synthetic_minutes: float = 4.0  # length of each of the 44 synthetic records

    # Where things go --------------------------------------------------------------------------------------------
    runs_dir: str = "runs"
    cache_dir: str = "cache"

    # Signal processing and features -----------------------------------------------------------------------------
    fs_hz: float = 360.0  # every record is brought to this rate
    band_hz: tuple[float, float] = (0.5, 50.0)  # baseline wander below, mains and muscle noise above
    filter_order: int = 2
    window_samples: int = 280  # 0.78 s; centred on R in diagnostic mode
    look_ahead_ms: float = 150.0  # causal mode only: the window ends this long after R

    # Training ---------------------------------------------------------------------------------------------------
    focal_gamma: float = 1.0  # 0 is cross entropy
    replays: int = 6  # of each training record, in other rhythms (augmentation.py)
    record_shares: tuple[float, ...] = (0.5, 1.0, 1.0, 1.0, 1.0)  # of the recorded N S V F Q that an epoch shows
    replay_shares: tuple[float, ...] = (0.16, 0.06, 0.12, 0.02, 0.0)  # of the replayed ones; both drawn anew each time
    batch_size: int = 128
    weight_decay: float = 1e-3
    dropout: float = 0.3
    threads: int = 0  # how many processes work side by side, one thread each, 0: one a core; no result depends on it

    def __post_init__(self):
        _check_kinds(self)
        _check_choices(self)
        _check_numbers(self)

    @property
    def data_folder(self) -> Path:
        """The data folder: the environment variable where it is set and not empty, else `data_dir`."""
        return Path(os.environ.get(DATA_DIR_VARIABLE) or self.data_dir)

    @property
    def model(self) -> ModelPreset:
        """The network preset in use."""
        return PRESETS[self.preset]

    @property
    def temperature(self) -> float:
        """What calibrates the probabilities of a network of this mode and preset (`confidence.tempered`)."""
        return TEMPERATURES[self.mode, self.preset]

    @property
    def look_ahead_samples(self) -> int:
        """Samples of the window after R: half the window in diagnostic mode, the look-ahead in causal mode."""
        if self.mode == "diagnostic":
            return self.window_samples // 2
        return round(self.look_ahead_ms * self.fs_hz / 1000)


def _check_kinds(config: Config):
    for field in fields(config):
        value = getattr(config, field.name)
        if not _is_a(value, field.type):
            kind = inspect.formatannotation(field.type)
            raise DeepECGError(f"setting {field.name} = {value!r} cannot be used: it must be {kind}")


def _is_a(value: object, kind: type) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_a(item, get_args(kind)[0]) for item in value)
    if kind is str:
        return isinstance(value, str | os.PathLike)
    numbers = (int, float) if kind is float else int
    return isinstance(value, numbers) and not isinstance(value, bool) and math.isfinite(value)


def _check_choices(config: Config):
    for name, allowed in (("mode", MODES), ("preset", tuple(PRESETS)), ("data_source", DATA_SOURCES)):
        value = getattr(config, name)
        if value not in allowed:
            raise DeepECGError(f"setting {name} = {value!r} is unknown: use one of {', '.join(allowed)}")


def _check_numbers(config: Config):
    seeds_ok = len(config.seeds) == len(set(config.seeds)) > 0 and min(config.seeds) >= 0
    band_ok = len(config.band_hz) == 2 and 0 < config.band_hz[0] < config.band_hz[1] < config.fs_hz / 2
    half_window_ms = 500 * config.window_samples / config.fs_hz if config.fs_hz > 0 else 0
    rules = (
        ("seeds", seeds_ok, "different whole numbers from 0"),
        ("fs_hz", config.fs_hz > 0, "above 0"),
        ("band_hz", band_ok, "two rising frequencies below half of fs_hz"),
        ("filter_order", config.filter_order >= 1, "1 or more"),
        ("window_samples", config.window_samples >= 64 and config.window_samples % 8 == 0, "a multiple of 8 from 64"),
        ("look_ahead_ms", 0 <= config.look_ahead_ms <= half_window_ms, "0 to half the window"),
        ("focal_gamma", config.focal_gamma >= 0, "0 or more"),
        ("replays", config.replays >= 0, "0 or more"),
        ("record_shares", _are_shares(config.record_shares), "five shares from 0 to 1, of N S V F Q"),
        ("replay_shares", _are_shares(config.replay_shares), "five shares from 0 to 1, of N S V F Q"),
        ("batch_size", config.batch_size >= 2, "2 or more"),
        ("weight_decay", config.weight_decay >= 0, "0 or more"),
        ("dropout", 0 <= config.dropout < 1, "from 0 to below 1"),
        ("threads", config.threads >= 0, "0 (one a core) or more"),
        ("synthetic_minutes", config.synthetic_minutes >= 1, "1 or more"),
    )
    for name, holds, need in rules:
        if not holds:
            raise DeepECGError(f"setting {name} = {getattr(config, name)!r} cannot be used: it must be {need}")


def _are_shares(values: tuple[float, ...]) -> bool:
    return len(values) == len(CLASSES) and all(0 <= value <= 1 for value in values)


def with_overrides(config: Config, **overrides) -> Config:
    """A copy of `config` in which every override that is not None replaces the setting of that name.

    Raises DeepECGError for a name that is no setting, or a value that cannot be used.
    """
    known = {field.name for field in fields(config)}
    for name in overrides:
        if name not in known:
            raise DeepECGError(f"there is no setting {name!r}: config.py lists them")
    return replace(config, **{name: value for name, value in overrides.items() if value is not None})


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
