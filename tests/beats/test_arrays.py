"""Rows of records in arrays that may lie on disk: stretches and chosen rows, whatever the blocks they are read in."""

import numpy as np
import pytest

from deep_ecg.beats import arrays


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_stretches_are_found_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(arrays, "BLOCK_BEATS", block)
    found = arrays.stretches_of(np.array(["a", "a", "b", "a", "a", "a"]))
    assert found == [("a", 0, 2), ("b", 2, 3), ("a", 3, 6)]
    assert arrays.stretches_of(np.array(["a"])) == [("a", 0, 1)]
    assert arrays.stretches_of(np.array([], str)) == []


@pytest.mark.parametrize("names, rows", [(["a"], [0, 3]), (["b", "a"], [0, 1, 2, 3]), (["c"], []), ([], [])])
def test_rows_of_the_records_named_rise(names, rows):
    found = arrays.rows_of(np.array(["a", "b", "b", "a"]), names)
    assert found.tolist() == rows and found.dtype == np.int64
