"""What a database has too little of to train on is said before a training begins."""

from dataclasses import replace

import numpy as np
import pytest

from config import Config
from deep_ecg.scoring.report import render_markdown
from deep_ecg.training.enough import beats_an_epoch, check_enough
from tests.support.networks import made_up_beats
from tests.support.records import refused

ALL = {"train_records": tuple(str(number) for number in range(10)), "validation_records": ("1",)}
ALL |= {"record_shares": (1.0,) * 5, "replay_shares": (0.5,) * 5}


def beats_of(count: int, records: int):
    """`count` beats, a fifth of each class, in turn of as many records as said."""
    beats = made_up_beats(count=count)
    return replace(beats, records=np.array([str(number // 5 % records) for number in range(count)]))


def test_enough_beats_of_enough_records_get_no_word():
    assert check_enough(beats_of(500, 10), None, Config(**ALL)) == []


def test_fewer_beats_than_a_batch_are_an_error_before_training():
    refused(lambda: check_enough(beats_of(100, 10), None, Config(**ALL)), "too few beats", "100 an epoch", "takes 128")


def test_the_training_without_the_validation_records_needs_a_batch_too():
    """Of 150 beats 75 are of record 1, and half of the others is shown."""
    refused(lambda: check_enough(beats_of(150, 2), None, Config(**ALL)), "37 an epoch", "validation records 1", "128")


def test_replays_count_by_their_share():
    """30 of each class, and half of 20 of each class."""
    recorded, replayed = beats_of(150, 3), beats_of(100, 3)
    assert beats_an_epoch(recorded, None, Config(**ALL)) == 150
    assert beats_an_epoch(recorded, replayed, Config(**ALL)) == 200


@pytest.mark.parametrize(
    "count, records, said",
    [(200, 10, ["N 40, S 40, V 40"]), (500, 2, ["few records to train on, 2"]), (150, 3, ["N 30", "on, 3"])],
)
def test_few_beats_and_few_records_are_said(count, records, said):
    warnings = check_enough(beats_of(count, records), None, Config(**ALL | {"batch_size": 16}))
    assert len(warnings) == len(said) and all(words in line for words, line in zip(said, warnings))
    text = render_markdown({"warnings": warnings})
    assert all(f"**Warning: {line}.**" in text for line in warnings)
