"""Whether a database is large enough to train on: asked before a training begins, not found out in the midst of it."""

from collections.abc import Sequence

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.system.errors import DeepECGError

NEEDED = ("N", "S", "V")  # the classes that every database of arrhythmias holds; F and Q are rare or absent in most
FEW_BEATS = 50  # of a class: with fewer, a network mostly learns never to say it
FEW_RECORDS = 5  # to train on: with fewer, what is learnt is these patients


def check_enough(recorded: Beats, replays: Beats | None, config: Config) -> list[str]:
    """A line on each thing that the beats to train on have too little of; an empty list where all is well.

    Raises DeepECGError where a training of the run cannot make one batch.
    """
    for held_out in ((), config.validation_records):
        shown = beats_an_epoch(recorded, replays, config, held_out)
        if held_out:
            shown = int(shown * config.validation_share)
        if shown < config.batch_size:
            left = f" left without the validation records {', '.join(held_out)}" if held_out else ""
            raise DeepECGError(
                f"too few beats to train on: {shown} an epoch{left}, and a batch takes {config.batch_size}: "
                "add records to train_records or set a smaller batch_size"
            )
    return _few_of_classes(recorded) + _few_records(recorded)


def beats_an_epoch(recorded: Beats, replays: Beats | None, config: Config, held_out: Sequence[str] = ()) -> int:
    """How many beats an epoch of a training without the records `held_out` shows."""
    parts = [(recorded, config.record_shares)] + ([(replays, config.replay_shares)] if replays else [])
    return sum(
        round(int(count) * share)
        for beats, shares in parts
        for count, share in zip(_counts(beats.labels[~np.isin(beats.records, held_out)]), shares)
    )


def _counts(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=len(CLASSES))


def _few_of_classes(recorded: Beats) -> list[str]:
    counts = dict(zip(CLASSES, _counts(recorded.labels).tolist()))
    few = [f"{name} {counts[name]}" for name in NEEDED if counts[name] < FEW_BEATS]
    if not few:
        return []
    return [f"few beats to learn from: {', '.join(few)}: below {FEW_BEATS} of a class it is mostly never told"]


def _few_records(recorded: Beats) -> list[str]:
    records = len(np.unique(recorded.records))
    if records >= FEW_RECORDS:
        return []
    return [f"few records to train on, {records}: below {FEW_RECORDS} a network learns these patients"]
