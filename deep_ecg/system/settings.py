"""Whether the settings of `config.py` can be used: their kinds, their choices, and how they go together."""

import inspect
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

from deep_ecg.system.errors import DeepECGError

RECORD_NAME = re.compile(r"[-\w]+(/[-\w]+)*")  # in a subfolder of the data folder, perhaps


def check_settings(config, choices: Mapping[str, Sequence[str]], classes: Sequence[str], databases: Sequence[str]):
    """Raises DeepECGError at the first value of the dataclass `config` that cannot be used.

    `choices` are what the settings of these names may be, `classes` the names of the classes of beats, `databases`
    those of databases, the one first that is always trained on.
    """
    check_kinds(config)
    _check_choices(config, choices)
    _check_numbers(config, len(classes))
    _check_databases(config, databases)
    _check_records(config)
    _check_annotations(config, classes)


def check_kinds(config):
    """Raises DeepECGError at the first value of the dataclass `config` that is not of the kind that its field says."""
    for field in fields(config):
        value = getattr(config, field.name)
        if not _is_a(value, field.type):
            kind = inspect.formatannotation(field.type)
            raise DeepECGError(f"setting {field.name} = {value!r} cannot be used: it must be {kind}")


def _is_a(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_a(item, get_args(kind)[0]) for item in value)
    if kind is str:
        return isinstance(value, str | os.PathLike)
    if kind in (bool, dict) or (isinstance(kind, type) and is_dataclass(kind)):
        return isinstance(value, kind)
    numbers = (int, float) if kind is float else int
    return isinstance(value, numbers) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check_choices(config, choices: Mapping[str, Sequence[str]]):
    for name, allowed in choices.items():
        value = getattr(config, name)
        if value not in allowed:
            raise DeepECGError(f"setting {name} = {value!r} is unknown: use one of {', '.join(allowed)}")


def _check_numbers(config, classes: int):
    seeds_ok = len(config.seeds) == len(set(config.seeds)) > 0
    seeds_ok = seeds_ok and 0 <= min(config.seeds) <= max(config.seeds) < 2**32  # as NumPy and PyTorch take them
    band_ok = len(config.band_hz) == 2 and 0 < config.band_hz[0] < config.band_hz[1] < config.fs_hz / 2
    half_window_ms = 500 * config.window_samples / config.fs_hz if config.fs_hz > 0 else 0
    rules = (
        ("seeds", seeds_ok, "different whole numbers from 0 to 4294967295"),
        ("fs_hz", config.fs_hz > 0, "above 0"),
        ("band_hz", band_ok, "two rising frequencies below half of fs_hz"),
        ("filter_order", config.filter_order >= 1, "1 or more"),
        ("window_samples", config.window_samples >= 64 and config.window_samples % 8 == 0, "a multiple of 8 from 64"),
        ("look_ahead_ms", 0 <= config.look_ahead_ms <= half_window_ms, "0 to half the window"),
        ("epochs", config.epochs >= 0, "0 (as many as the preset has) or more"),
        ("focal_gamma", config.focal_gamma >= 0, "0 or more"),
        ("replays", config.replays >= 0, "0 or more"),
        ("record_shares", _are_shares(config.record_shares, classes), "five shares from 0 to 1, of N S V F Q"),
        ("replay_shares", _are_shares(config.replay_shares, classes), "five shares from 0 to 1, of N S V F Q"),
        ("open_replay_shares", _are_shares(config.open_replay_shares, classes), "five shares from 0 to 1"),
        ("validation_share", 0 < config.validation_share <= 1, "above 0 to 1"),
        ("open_rate", 0 < config.open_rate <= 1, "above 0 to 1"),
        ("open_weight", 0 <= config.open_weight <= 1, "from 0 to 1"),
        ("batch_size", config.batch_size >= 2, "2 or more"),
        ("weight_decay", config.weight_decay >= 0, "0 or more"),
        ("dropout", 0 <= config.dropout < 1, "from 0 to below 1"),
        ("s_prior_weight", 0 <= config.s_prior_weight <= 1, "from 0 (off) to 1"),
        ("v_prior_weight", 0 <= config.v_prior_weight <= 1, "from 0 (off) to 1"),
        ("rhythm_weight", 0 <= config.rhythm_weight <= 1, "from 0 (off) to 1"),
        ("threads", config.threads >= 0, "0 (one a core) or more"),
        ("synthetic_minutes", config.synthetic_minutes >= 1, "1 or more"),
    )
    folders = [field.name for field in fields(config) if field.name.endswith("_dir")]
    told = (*folders, "lead", "physionet_url")
    named = [(name, bool(str(getattr(config, name)).strip()), "filled in") for name in told]
    for name, holds, need in (*rules, *named):
        if not holds:
            raise DeepECGError(f"setting {name} = {getattr(config, name)!r} cannot be used: it must be {need}")


def _check_databases(config, known: Sequence[str]):
    names = config.databases
    first_ok = names[:1] == tuple(known[:1])
    if not first_ok or len(set(names)) < len(names) or not set(names) <= set(known):
        raise DeepECGError(
            f"setting databases = {names!r} cannot be used: list {known[0]} and then any of {', '.join(known[1:])}, "
            "each once"
        )


def _check_records(config):
    lists = {name: getattr(config, name) for name in ("train_records", "validation_records", "test_records")}
    for name, records in lists.items():
        odd = [record for record in records if not RECORD_NAME.fullmatch(record)]
        twice = [record for record, count in Counter(records).items() if count > 1]
        if not records or odd or twice:
            what = f"{twice[0]!r} stands twice" if twice else "is empty"
            what = f"{odd[0]!r} is no name of a record" if odd else what
            raise DeepECGError(f"setting {name} cannot be used: {what}: list the records' names, each once")
    train, validation = set(config.train_records), set(config.validation_records)
    if both := [record for record in config.test_records if record in train]:
        raise DeepECGError(
            f"setting test_records cannot be used: {both[0]!r} is in train_records too: take it out of one, and keep "
            "all records of a patient in the same list"
        )
    if not validation < train:
        raise DeepECGError("setting validation_records cannot be used: name some of train_records, but not all")


def _check_annotations(config, classes: Sequence[str]):
    if not re.fullmatch(r"\w+", config.annotation_extension):
        raise DeepECGError(
            f"setting annotation_extension = {config.annotation_extension!r} cannot be used: it must be letters and "
            "digits, as atr"
        )
    pairs = config.annotation_classes
    if any(len(pair) != 2 for pair in pairs):
        raise DeepECGError('setting annotation_classes cannot be used: it must be pairs as ("S", "A a J S")')
    if unknown := [name for name, _ in pairs if name not in classes]:
        raise DeepECGError(f"setting annotation_classes: class {unknown[0]!r} is unknown: use {', '.join(classes)}")
    symbols = Counter(symbol for _, symbols in pairs for symbol in symbols.split())
    if twice := [symbol for symbol, count in symbols.items() if count > 1]:
        raise DeepECGError(f"setting annotation_classes: symbol {twice[0]!r} stands twice: give it one class")
    if not symbols:
        raise DeepECGError("setting annotation_classes names no symbol: without one no annotation is a beat")


def _are_shares(values: tuple[float, ...], classes: int) -> bool:
    return len(values) == classes and all(0 <= value <= 1 for value in values)
