"""The cache of beats on disk: what it knows of, whole or not at all, mapped and not read, never trusted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest

from config import Config
from data_loader import load_beats
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.cache import read_entry, write_entry
from deep_ecg.records.database import Source
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.files import UNFINISHED
from tests.support import ROOT, fuzz
from tests.support.records import assert_equal, refused

ARRAYS = tuple(f"{name}.npy" for name in Beats.__dataclass_fields__)


@pytest.fixture
def config(tmp_path):
    return Config(cache_dir=str(tmp_path / "cache"), threads=1)  # in this process, where it can be watched


@pytest.fixture
def opened(monkeypatch):
    """The names of the records whose signals are read, as the test goes on."""
    names, read = [], RecordFile.lead
    monkeypatch.setattr(RecordFile, "lead", lambda record, leads: names.append(record.name) or read(record, leads))
    return names


def only_entry(config: Config) -> Path:
    (entry,) = Path(config.cache_dir).iterdir()
    return entry


# What it knows of ----------------------------------------------------------------------------------------------------


def test_the_second_load_opens_no_record_and_gives_equal_beats(few, config, opened):
    first = load_beats(few, ("100", "208"), config)
    assert opened == ["100", "208"]
    assert_equal(load_beats(few, ("100", "208"), config), first)
    assert opened == ["100", "208"]


def test_other_settings_or_records_are_parsed_anew(few, config, opened):
    changes = ({}, {"mode": "causal"}, {"mode": "causal", "look_ahead_ms": 100.0}, {"band_hz": (0.5, 40.0)})
    changes += ({"filter_order": 3}, {"window_samples": 240}, {"fs_hz": 250.0}, {"lead": "V5"})
    for done, change in enumerate(changes):
        load_beats(few, ("100",), Config(cache_dir=config.cache_dir, threads=1, **change))
        assert len(opened) == done + 1, change
    load_beats(few, ("208",), config)
    assert opened[-1] == "208"
    same = Config(cache_dir=config.cache_dir, preset="edge", seeds=(5,), threads=1)  # these say nothing of beats
    load_beats(few, ("100",), same)
    assert len(opened) == len(changes) + 1


@pytest.mark.parametrize("extension", ["hea", "dat", "atr"])
def test_a_record_file_that_changes_is_parsed_anew(few, config, opened, extension):
    load_beats(few, ("100",), config)
    path = few.folder / f"100.{extension}"
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))
    load_beats(few, ("100",), config)
    assert opened == ["100", "100"]


def test_another_folder_with_the_same_names_is_another_source(few, config, opened):
    load_beats(few, ("100",), config)
    other = Source("local", few.folder.with_name("other"))
    shutil.copytree(few.folder, other.folder)
    load_beats(other, ("100",), config)
    assert opened == ["100", "100"]


# Mapped and written record by record ---------------------------------------------------------------------------------


def test_beats_lie_in_the_files_of_the_cache_and_not_in_memory(few, config):
    """So that memory does not grow with the database; what is written into them stays with this process."""
    beats = load_beats(few, ("100", "208"), config)
    entry = only_entry(config)
    for name in Beats.__dataclass_fields__:
        array = getattr(beats, name)
        assert isinstance(array.base, np.memmap) and array.ctypes.data % 64 == 0, name
    before = (entry / "windows.npy").read_bytes()
    beats.windows[:] = 0
    assert (entry / "windows.npy").read_bytes() == before
    assert np.load(entry / "windows.npy").any()  # they are what numpy.save would write
    assert np.array_equal(np.load(entry / "labels.npy"), beats.labels)
    assert sorted(path.name for path in entry.iterdir()) == sorted([*ARRAYS, "index.json"])


def test_no_more_than_one_record_is_held_while_beats_are_stored(few, config, tmp_path):
    """Beats are written as they come: those of a record can be gone before the next ones are made."""
    made = []

    def parts():
        for name in ("100", "208"):
            beats = load_beats(few, (name,), config)
            made.append(weakref.ref(copy := beats.where(np.ones(len(beats), bool))))
            yield copy
            del copy
            assert len(made) == 1 or made[0]() is None

    write_entry(tmp_path / "all", parts(), ("100", "208"))
    assert_equal(read_entry(tmp_path / "all"), load_beats(few, ("100", "208"), config))


def rows(count: int, records: str = "100") -> Beats:
    """Beats (count) of nothing in particular."""
    rng, zeros = np.random.default_rng(count), np.zeros(count, np.int64)
    inputs = [rng.normal(size=shape).astype(np.float32) for shape in ((count, 2, 8), (count, 3))]
    more = {"records": np.full(count, records), "samples": np.arange(count), "rr_s": np.full(count, 0.8)}
    return Beats(*inputs, labels=zeros, groups=zeros, **more)


@pytest.mark.parametrize("counts", [(0,), (1,), (9, 1), (99, 0, 1), (0, 12_345, 87_656)])
def test_any_number_of_beats_is_stored_as_it_is(tmp_path, counts):
    """The number of rows, which stands in the header before them, is known last; names are of several lengths."""
    parts = [rows(count, f"{10**place}") for place, count in enumerate(counts)]
    write_entry(tmp_path / "entry", iter(parts), [part.records[0] if len(part) else "" for part in parts] + ["1" * 9])
    beats = read_entry(tmp_path / "entry")
    assert len(beats) == sum(counts)
    for name in Beats.__dataclass_fields__:
        expected = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(beats, name), expected), name
        assert np.array_equal(np.load(tmp_path / "entry" / f"{name}.npy"), expected), name


# Never trusted -------------------------------------------------------------------------------------------------------


def replace_file(path: Path, content: bytes):
    """As every writer does: in a file that is cut short in place, mapped arrays would lose their ground."""
    path.unlink()
    path.write_bytes(content)


def broken_copies(whole: bytes):
    """A file cut short, replaced and with single bits turned over, in its header, values and end."""
    yield from (b"", b"PK", whole[: len(whole) // 2], whole[:-1], whole + b"\0", b"no array at all")
    for position in (*range(0, 130, 31), len(whole) // 3, len(whole) // 2, len(whole) - 1):
        yield whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :]


@pytest.mark.parametrize("name", [*ARRAYS, "index.json"])
def test_a_broken_cache_is_parsed_anew_and_never_trusted(few, config, name):
    beats = load_beats(few, ("100",), config)
    path = only_entry(config) / name
    whole = path.read_bytes()
    for broken in broken_copies(whole):
        replace_file(path, broken)
        if name != "index.json":  # in that, a space more is no harm
            assert read_entry(path.parent) is None
        assert_equal(load_beats(few, ("100",), config), beats)
    path.unlink()
    assert_equal(load_beats(few, ("100",), config), beats)


def test_a_cache_whose_header_promises_fewer_beats_is_not_trusted(few, config):
    beats = load_beats(few, ("100",), config)
    path = only_entry(config) / "windows.npy"
    whole = path.read_bytes()
    shorter = whole.replace(b"'shape': (%d," % len(beats), b"'shape': (%d," % (len(beats) - 1), 1)
    assert len(shorter) == len(whole) and shorter != whole
    replace_file(path, shorter)
    assert_equal(load_beats(few, ("100",), config), beats)


def stated(entry: Path, name: str, array: np.ndarray):
    """Puts `array` in the place of that named, with an index that says so."""
    (entry / f"{name}.npy").unlink()
    np.save(entry / f"{name}.npy", array)
    index = json.loads((entry / "index.json").read_text())
    crc32 = zlib.crc32((entry / f"{name}.npy").read_bytes())
    index[name] = {"shape": array.shape, "dtype": array.dtype.str, "crc32": crc32}
    (entry / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "name, spoil",
    [
        ("windows", lambda windows: np.where(windows > 1, np.nan, windows)),
        ("windows", lambda windows: windows[:, 0]),
        ("windows", lambda windows: windows.astype(np.float64)),
        ("windows", lambda windows: np.asfortranarray(windows)),
        ("features", lambda features: features[:-1]),
        ("labels", lambda labels: labels + 4),
        ("labels", lambda labels: -labels - 1),
        ("groups", lambda groups: groups + 8),
        ("records", lambda records: records.astype("S3")),
        ("samples", lambda samples: samples.astype(float)),
    ],
)
def test_a_cache_that_is_not_what_beats_are_is_not_trusted(few, config, name, spoil):
    """Though its checksums are right."""
    beats = load_beats(few, ("100",), config)
    entry = only_entry(config)
    stated(entry, name, np.array(getattr(beats, name)))
    assert read_entry(entry) is not None
    stated(entry, name, spoil(np.array(getattr(beats, name))))
    assert read_entry(entry) is None
    assert_equal(load_beats(few, ("100",), config), beats)


def test_code_in_a_cache_is_not_run(few, config, tmp_path):
    load_beats(few, ("100",), config)
    entry, trace = only_entry(config), tmp_path / "trace"
    for name in Beats.__dataclass_fields__:
        stated(entry, name, np.array([fuzz.Taker(trace)] * 3, object))
    assert read_entry(entry) is None and not trace.exists()
    np.load(entry / "windows.npy", allow_pickle=True)
    assert trace.exists()  # the probe does what it is feared for


def test_a_header_that_promises_more_than_there_is_takes_no_memory(few, config):
    """A file of 10^15 bytes by its header, with an index that agrees."""
    load_beats(few, ("100",), config)
    entry = only_entry(config)
    (entry / "labels.npy").unlink()
    with open(entry / "labels.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (2**47,)})
    index = json.loads((entry / "index.json").read_text())
    index["labels"] |= {"shape": [2**47], "crc32": zlib.crc32((entry / "labels.npy").read_bytes())}
    (entry / "index.json").write_text(json.dumps(index))
    assert read_entry(entry) is None


@pytest.mark.parametrize("name", ["windows.npy", "index.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(few, config, name):
    beats = load_beats(few, ("100",), config)
    (only_entry(config) / name).unlink()
    os.mkfifo(only_entry(config) / name)
    assert_equal(load_beats(few, ("100",), config), beats)


def test_a_broken_cache_is_replaced_by_a_whole_one(few, config, opened):
    load_beats(few, ("100",), config)
    path = only_entry(config) / "windows.npy"
    replace_file(path, path.read_bytes()[:5000])
    load_beats(few, ("100",), config)
    load_beats(few, ("100",), config)
    assert opened == ["100", "100"]
    assert only_entry(config) == path.parent  # nothing of the broken one is left


@pytest.mark.parametrize("kind", ["file", "link to nowhere"])
def test_what_lies_in_the_place_of_an_entry_makes_room(tmp_path, kind):
    entry = tmp_path / "entry"
    entry.write_text("a cache of an older form") if kind == "file" else entry.symlink_to("nowhere")
    write_entry(entry, [rows(3)], ["100"])
    assert len(read_entry(entry)) == 3
    assert list(tmp_path.iterdir()) == [entry]


def test_a_cache_that_cannot_be_written_is_refused_by_name(few, tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(lambda: load_beats(few, ("100",), Config(cache_dir=str(tmp_path / "file"))), tmp_path / "file")


# Two at once, and killed ---------------------------------------------------------------------------------------------


def test_of_two_that_write_the_same_entry_the_first_one_stays(tmp_path):
    """The second comes to its end while the first is in the middle; mapped arrays keep their ground."""
    entry, mapped = tmp_path / "entry", []

    def slow_parts():
        yield rows(5)
        write_entry(entry, [rows(5), rows(7)], ["100"])
        mapped.append(read_entry(entry))
        yield rows(7)

    write_entry(entry, slow_parts(), ["100"])
    assert os.path.samestat(os.stat(entry / "windows.npy"), os.stat(mapped[0].windows.base.filename))
    assert_equal(read_entry(entry), mapped[0])
    assert list(tmp_path.iterdir()) == [entry]


LOAD = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
import zlib
from pathlib import Path
from config import Config
from data_loader import load_beats
from deep_ecg.records.database import Source
sys.stdin.readline()
source, config = Source("synthetic", Path(sys.argv[1])), Config(cache_dir=sys.argv[2], threads=1)
beats = load_beats(source, ("100", "208", "232"), config)
print(len(beats), zlib.crc32(beats.windows.tobytes()), zlib.crc32(beats.features.tobytes()))
"""


@pytest.mark.parametrize("broken", [False, True])
def test_two_processes_that_make_the_same_entry_at_once_both_have_it(few, config, broken):
    beats = load_beats(few, ("100", "208", "232"), config)
    entry = only_entry(config)
    (entry / "windows.npy").unlink() if broken else shutil.rmtree(entry)
    command = [sys.executable, "-c", LOAD, str(few.folder), config.cache_dir]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in both]
    expected = f"{len(beats)} {zlib.crc32(beats.windows.tobytes())} {zlib.crc32(beats.features.tobytes())}\n"
    assert [process.returncode for process in both] == [0, 0] and said == [expected] * 2
    assert only_entry(config) == entry and read_entry(entry) is not None


def test_what_a_killed_run_was_writing_counts_for_nothing_and_is_removed(tmp_path):
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
import os, signal
from pathlib import Path
from deep_ecg.beats.cache import write_entry
from tests.beats.test_cache import rows
def parts():
    yield rows(1000)
    os.kill(os.getpid(), signal.SIGKILL)
write_entry(Path(sys.argv[1]), parts(), ["100"])
"""
    entry = tmp_path / "cache" / "entry"
    assert subprocess.run([sys.executable, "-c", code, str(entry)]).returncode == -signal.SIGKILL
    (left,) = entry.parent.iterdir()
    assert UNFINISHED.fullmatch(left.name) and read_entry(entry) is None
    write_entry(entry, [rows(3)], ["100"])
    assert list(entry.parent.iterdir()) == [entry] and len(read_entry(entry)) == 3
