"""Reference annotations beside a record."""

import numpy as np

from config import Config
from deep_ecg.labelling.reference import labels_at, reference_beside
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.report.recording import Reference
from tests.support.records import beat_times_s, spikes_mv, write_beats, write_record


def test_each_beat_has_the_reference_within_150_ms():
    """At 100 Hz: 100 has N at 105; 200 has none (216 is 160 ms off); 300 has V at 286; the F at 400 was missed."""
    reference = Reference(np.array([105, 216, 286, 400]), np.array([0, 0, 2, 3]), "r.atr")
    assert labels_at(np.array([100, 200, 300, 500]), reference, 100.0).tolist() == [0, -1, 2, -1]
    assert labels_at(np.array([], int), reference, 100.0).tolist() == []


def test_the_file_beside_a_record(tmp_path):
    path = write_record(tmp_path, "r", spikes_mv(beat_times_s(20), 20, 360))
    file = RecordFile.open(path)
    assert reference_beside(file, file.lead("MLII"), Config()) is None
    write_beats(tmp_path, "r", [(400, "N"), (500, "+"), (700, "V"), (1000, "A")])
    found = reference_beside(file, file.lead("MLII"), Config())
    assert found.samples.tolist() == [400, 700, 1000] and found.labels.tolist() == [0, 2, 1] and found.file == "r.atr"


def test_one_that_cannot_be_used_is_said_and_left_out(tmp_path, capsys):
    path = write_record(tmp_path, "r", spikes_mv(beat_times_s(20), 20, 360))
    (tmp_path / "r.atr").write_bytes(b"nothing")
    file = RecordFile.open(path)
    assert reference_beside(file, file.lead("MLII"), Config()) is None
    assert "r: its reference is not shown: " in capsys.readouterr().out
