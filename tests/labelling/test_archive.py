"""Archives: every record of a folder or list labelled once, whatever happens, and the bad ones told apart."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import main
from deep_ecg.labelling import archive
from deep_ecg.labelling.archive import INDEX, MANIFEST
from deep_ecg.labelling.archive_records import Found, other_recordings, records_below, records_listed
from deep_ecg.records import synthetic
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import locked
from deep_ecg.system.workers import WorkerDied
from tests.support import ROOT, TORCH
from tests.support.kill import paths_below

LIMIT_S = 120
OPTIONS = ["--preset", "edge", "--runtime", "onnx", "--workers", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two SYNTHETIC records in a folder, and two of the same names in a subfolder."""
    folder = tmp_path_factory.mktemp("made")
    for below in (".", "ward 2"):
        synthetic.write_database(folder / below, ["100", "203"], 1.0)
    return folder


@pytest.fixture
def data(made, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def predict(*arguments: object, options=OPTIONS) -> int:
    return main.main(["predict", *map(str, arguments), *options])


def manifest(out: Path) -> tuple[dict, dict[str, dict]]:
    """Its first line, and its other ones by record."""
    first, *lines = map(json.loads, (out / MANIFEST).read_text().splitlines())
    return first["made_with"], {line["record"]: line for line in lines}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(folder: Path, before: dict[str, int]) -> set[str]:
    """Records whose table was written since `before`."""
    return {name for name, time_ns in times(folder).items() if before.get(name) != time_ns}


def times(folder: Path) -> dict[str, int]:
    tables = (path for path in folder.rglob("*.csv") if "-events" not in path.name)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in tables}


# What is written -----------------------------------------------------------------------------------------------------


def test_every_record_has_what_predict_writes_for_it_alone(made, tmp_path, capsys):
    out, alone = tmp_path / "out", tmp_path / "alone"
    assert predict(made, "--out", out) == 0
    assert "4 records: 4 labelled, 4 SYNTHETIC" in capsys.readouterr().out
    expected = {MANIFEST, INDEX}
    for below in (".", "ward 2"):
        records = [made / below / name for name in ("100", "203")]
        assert predict(*records, "--out", alone / below, options=OPTIONS[:4]) == 0
        for name in ("100", "203"):
            endings = (".pred", "-SYNTHETIC.csv", "-SYNTHETIC.html", "-events-SYNTHETIC.csv")
            results = [str(Path(below) / f"{name}{ending}") for ending in endings]
            assert all((out / file).read_bytes() == (alone / file).read_bytes() for file in results)
            expected |= {*results, str(Path(below) / f"{name}.json")}
    assert set(files(out)) == expected


def test_segments_are_no_records_of_their_own(data, tmp_path):
    """Two records as the segments of a third; a header that names itself alone, and a broken one, hide nothing."""
    (data / "whole.hea").write_text("whole/3 2 360\n100 21600\n~ 360\n203 21600\n")
    (data / "own.hea").write_text("own/1 1 360\nown 21600\n")
    (data / "broken.hea").write_text("broken/1\nown 21600\n")
    assert [one.name for one in records_below(data)] == ["broken", "own", "ward 2/100", "ward 2/203", "whole"]
    assert predict(data, "--out", tmp_path / "out") == 3
    _, lines = manifest(tmp_path / "out")
    assert lines["whole"]["status"] == "done" and set(lines["whole"]["inputs"]) == {
        "whole.hea", "100.hea", "203.hea", "100.dat", "203.dat"
    }  # fmt: skip
    assert lines["own"]["status"] == "failed" and "segments itself" in lines["own"]["why"]


def test_other_recordings_are_counted_and_named(data, tmp_path, capsys):
    for name in ("x.edf", "ward 2/y.CSV", "notes.txt", "100.csv", "100-events.csv", "203-SYNTHETIC.csv", "z.edf.hea"):
        (data / name).write_text("")
    assert other_recordings(data) == ["ward 2/y.CSV", "x.edf"]
    (data / "z.edf.hea").unlink()
    assert predict(data, "--out", tmp_path / "out") == 0
    said = "; 2 that look like recordings but tell no format, rate or ECG were left out: ward 2/y.CSV, x.edf\n"
    assert said in capsys.readouterr().out


def test_a_folder_of_other_recordings_alone_is_refused_by_name(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.edf").write_text("")
    with pytest.raises(DeepECGError, match=r"holds no record.*; 7 that look like .*: 0.edf, 1.edf, .*4.edf, \.\.\.$"):
        records_below(tmp_path)


@pytest.fixture
def deep(tmp_path):
    """A folder with 1,500 others, each in the one before; what removes folders would call itself as often."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("ddd", dir_fd=here)
        below = os.open("ddd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield tmp_path
    while (tmp_path / "ddd" / "ddd").exists():
        (tmp_path / "ddd" / "ddd").rename(tmp_path / "next")
        (tmp_path / "ddd").rmdir()
        (tmp_path / "next").rename(tmp_path / "ddd")


def test_folders_however_deep_are_looked_into_or_named(deep):
    """A path of more than 4096 bytes cannot be listed."""
    (deep / "r.hea").write_text("r 1 360 600\n")
    found = records_below(deep)
    assert [one.name for one in found if not one.problem] == ["r"]
    assert [("shorten its path" in one.problem) for one in found if one.problem] == [True]
    assert other_recordings(deep) == []


def test_the_lead_is_said_where_it_is_not_the_networks(made, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(made / "ward 2", data)
    header = data / "100.hea"
    header.write_text(header.read_text().replace("MLII", "ECG").replace("V5", "ECG"))
    assert predict(data, "--out", tmp_path / "out") == 0
    assert "1 by another lead than the network's" in capsys.readouterr().out
    _, lines = manifest(tmp_path / "out")
    assert lines["100"]["summary"]["lead"] == "ECG (signal 1)" and lines["203"]["summary"]["lead"] == "MLII"


def test_the_manifest_says_what_was_made_from_what_with_what(made, tmp_path):
    assert predict(made, "--out", tmp_path, "--min-confidence", "0.5") == 0
    made_with, lines = manifest(tmp_path)
    assert (made_with["network"], made_with["mode"], made_with["min_confidence"]) == (
        "diagnostic-edge.onnx", "diagnostic", 0.5
    )  # fmt: skip
    assert list(lines) == ["100", "203", "ward 2/100", "ward 2/203"]
    one, header = lines["ward 2/100"], made / "ward 2" / "100.hea"
    assert one["status"] == "done" and one["synthetic"] is True
    assert one["inputs"]["100.hea"] == [header.stat().st_size, header.stat().st_mtime_ns]
    assert one["files"] == {name: (tmp_path / "ward 2" / name).stat().st_size for name in one["files"]}
    assert one["summary"]["beats"] == sum(one["summary"]["counts"].values()) + one["summary"]["not_classified"]


def test_a_list_is_relative_to_its_own_folder_and_names_each_record_once(made, data, tmp_path, monkeypatch):
    (data / "LIST").write_text("ward 2/203.hea\n\n100\r\n./100\n")
    monkeypatch.chdir(tmp_path)
    assert predict("--list", data / "LIST", "--out", tmp_path / "out") == 0
    assert list(manifest(tmp_path / "out")[1]) == ["ward 2/203", "100"]


def test_processes_give_the_same_bytes_and_import_no_torch(made, tmp_path):
    """With torch, torchao, onnx and onnxscript refused in the workers, too."""
    refuse = f"""import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TORCH}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""
    (tmp_path / "sitecustomize.py").write_text(refuse)
    command = [sys.executable, str(ROOT / "main.py"), "predict", str(made), "--out", str(tmp_path / "two")]
    done = subprocess.run(
        [*command, *OPTIONS[:4], "--workers", "2"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert predict(made, "--out", tmp_path / "one") == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")


# Again ---------------------------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_done_again(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(data, "--out", out) == 0
    first, before = files(out), times(out)
    assert predict(data, "--out", out) == 0
    assert "4 records: 4 labelled, 4 of them before" in capsys.readouterr().out
    assert files(out) == first and not changed(out, before)

    os.utime(data / "203.dat", ns=(1, 10**18))
    (out / "ward 2" / "100-SYNTHETIC.csv").unlink()
    (out / "ward 2" / "203.json").write_text("{")
    assert predict(data, "--out", out) == 0
    redone = {"203-SYNTHETIC.csv", "ward 2/100-SYNTHETIC.csv", "ward 2/203-SYNTHETIC.csv"}
    assert changed(out, before) == redone
    assert {name for name, content in files(out).items() if first[name] != content} == {"203.json", MANIFEST}

    before = times(out)
    assert predict(data, "--out", out, "--peaks", "atr") == 0
    assert len(changed(out, before)) == 4
    before = times(out)
    os.utime(data / "100.atr", ns=(1, 10**18))
    assert predict(data, "--out", out, "--peaks", "atr") == 0
    assert changed(out, before) == {"100-SYNTHETIC.csv"}


def test_without_reports_and_with_them_again(data, tmp_path, capsys):
    """The figures stay in NAME.json; a run with another choice does all again, and removes what is of the other."""
    out = tmp_path / "out"
    assert predict(data, "--out", out, "--no-report") == 0
    without = files(out)
    assert not [name for name in without if name.endswith(".html") or "-events" in name]
    assert json.loads(without["100.json"])["measures"]["duration_s"] == 60
    assert predict(data, "--out", out) == 0
    assert f"{out / MANIFEST}, {out / INDEX}" in capsys.readouterr().out
    page = files(out)["index.html"].decode()
    assert page.count("<a href") == 4 and '<a href="ward%202/100-SYNTHETIC.html">' in page
    assert predict(data, "--out", out, "--no-report") == 0
    assert files(out) == without


def test_a_record_called_index_keeps_its_report(made, tmp_path):
    """And not as a SYNTHETIC record does, whose files are called otherwise."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()

    def heading(page: str) -> str:
        return re.findall("<h1>(.*?)</h1>", (out / page).read_text(encoding="utf-8"))[0]

    def add(name: bytes):
        for ending in ("hea", "dat"):
            content = (made / f"100.{ending}").read_bytes().replace(b"100", name).replace(b"SYNTHETIC", b"made")
            (data / f"{name.decode()}.{ending}").write_bytes(content)

    add(b"index")
    assert predict(data, "--out", out) == 0
    assert heading("index.html") == "index" and heading("index-of-records.html") == "1 record"
    add(b"index-of-records")
    assert predict(data, "--out", out) == 0
    assert heading("index-of-records.html") == "index-of-records"
    assert heading("index-of-records-of-records.html") == "2 records"


def test_a_report_that_is_gone_and_a_reference_that_changes_are_noticed(data, tmp_path):
    """The report shows the reference annotations beside a record."""
    out = tmp_path / "out"
    assert predict(data, "--out", out) == 0
    before, first = times(out), files(out)
    (out / "100-SYNTHETIC.html").unlink()
    os.utime(data / "203.atr", ns=(1, 10**18))
    assert predict(data, "--out", out) == 0
    assert changed(out, before) == {"100-SYNTHETIC.csv", "203-SYNTHETIC.csv"}
    assert files(out)["100-SYNTHETIC.html"] == first["100-SYNTHETIC.html"]


def test_another_network_of_the_same_name_labels_again(made, tmp_path, monkeypatch):
    network = tmp_path / "own.onnx"
    shutil.copy(ROOT / "pretrained" / "diagnostic-edge.onnx", network)
    out, options = tmp_path / "out", ["--runtime", "onnx", "--workers", "1", "--checkpoint", str(network)]
    assert predict(made, "--out", out, options=options) == 0
    before = times(out)
    shutil.copy(ROOT / "pretrained" / "diagnostic-full.onnx", network)
    assert predict(made, "--out", out, options=options) == 0
    assert len(changed(out, before)) == 4
    assert manifest(out)[0]["preset"] == "full"


@pytest.mark.parametrize("change", [{"files": 7}, {"summary": None}, {"inputs": []}, {"more": 1}, {"synthetic": False}])
def test_what_a_spoiled_note_says_is_not_believed(data, tmp_path, change):
    out = tmp_path / "out"
    (data / "RECORDS").write_text("100")
    options = ["--list", data / "RECORDS", "--out", out]
    assert predict(*options) == 0
    first, before = files(out), times(out)
    note = json.loads((out / "100.json").read_text())
    (out / "100.json").write_text(json.dumps(note | change))
    assert predict(*options) == 0
    assert files(out) == first and changed(out, before) == {"100-SYNTHETIC.csv"}


def test_ctrl_c_is_one_line_and_leaves_what_is_whole(made, tmp_path):
    command = [sys.executable, str(ROOT / "main.py"), "predict", str(made), "--out", str(tmp_path / "out")]
    reset = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(
        [*command, *OPTIONS[:4], "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **reset,
    )  # fmt: skip
    give_up_s = time.monotonic() + LIMIT_S
    while not any(path.suffix == ".json" for path in paths_below(tmp_path)) and time.monotonic() < give_up_s:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=LIMIT_S)
    if process.returncode:  # it may have been at its end
        assert (process.returncode, said.strip()) == (130, archive.INTERRUPTED)
        assert not list(tmp_path.rglob(MANIFEST))
    assert predict(made, "--out", tmp_path / "out") == 0


def test_two_runs_at_once_in_one_folder(made, tmp_path, capsys):
    with locked(tmp_path):
        assert predict(made, "--out", tmp_path) == 2
    assert "is in use by another run" in capsys.readouterr().err


# Bad records ---------------------------------------------------------------------------------------------------------


def spoil(data: Path):
    """Records that cannot be used, of every kind, beside the four good ones."""
    (data / "bad.hea").write_text("not a header\n")
    (data / "away.hea").write_text("away 1 250 1000\n../../../etc/passwd 16 200 16 0 0 0 0 MLII\n")
    shutil.copy(data / "100.hea", data / "new\nline.hea")
    (data / "missing.hea").write_text((data / "100.hea").read_text().replace("100.dat", "gone.dat"))
    (data / "self.hea").symlink_to("self.hea")
    os.mkfifo(data / "pipe.hea")
    (data / "folder.hea").mkdir()
    (data / "ward 2" / "loop").symlink_to("..")
    (data / f"{'x' * 251}.hea").write_bytes((data / "100.hea").read_bytes())


def test_a_bad_record_is_one_line_and_the_others_are_done(data, tmp_path, capsys):
    assert predict(data, "--out", tmp_path / "good") == 0
    spoil(data)
    capsys.readouterr()
    assert predict(data, "--out", tmp_path / "out") == 3
    said = capsys.readouterr()
    *failed, last = said.err.splitlines()
    assert "11 records: 4 labelled, 7 failed" in said.out and "7 of 11 records failed" in last
    assert len(failed) == 7 and all(line.startswith("failed: ") and line.isprintable() for line in failed)
    for name in ("bad", "away", "missing", "self", "pipe", "x" * 251):
        assert sum(f"/{name}" in line for line in failed) == 1
    lines = manifest(tmp_path / "out")[1]
    assert {name for name, line in lines.items() if line["status"] == "failed" and line["why"]} == {
        "bad", "away", "missing", "self", "pipe", "new\nline", "x" * 251
    }  # fmt: skip
    good, out = files(tmp_path / "good"), files(tmp_path / "out")
    assert good.keys() == out.keys() and all(good[name] == out[name] for name in good if name not in (MANIFEST, INDEX))


def test_a_record_that_was_good_keeps_its_labels(data, tmp_path):
    out = tmp_path / "out"
    assert predict(data, "--out", out) == 0
    before = files(out)
    (data / "100.dat").unlink()
    assert predict(data, "--out", out) == 3
    assert {name for name, content in files(out).items() if before[name] != content} == {MANIFEST, INDEX}
    assert manifest(out)[1]["100"]["status"] == "failed"


def test_a_list_follows_no_link_to_a_file_elsewhere_unasked(data, tmp_path, monkeypatch):
    (tmp_path / "far.csv").write_text("time_s,ecg_mv\n")
    (data / "far.csv").symlink_to(tmp_path / "far.csv")
    (data / "near.csv").symlink_to("100.hea")
    (data / "LIST").write_text("far.csv\nnear.csv\n100\n")
    assert [one.problem is not None for one in records_listed(data / "LIST")] == [True, False, False]
    assert "far.csv is a link that leads out" in records_listed(data / "LIST")[0].problem
    monkeypatch.setenv("DEEP_ECG_FOLLOW_LINKS", "1")
    assert not any(one.problem for one in records_listed(data / "LIST"))


@pytest.mark.parametrize("name", ["../data/100", "/etc/passwd", "ward 2/../100", "out/100", "..", "/"])
def test_a_list_cannot_lead_out_of_its_folder(data, tmp_path, name):
    (data / "out").symlink_to(tmp_path)
    (data / "LIST").write_text(f"{name}\n100\n")
    bad, good = records_listed(data / "LIST")
    assert good == Found("100")
    assert name in bad.problem and "leads out of its folder" in bad.problem


def test_names_of_a_list_may_be_any_bytes(data, tmp_path, capsys):
    (data / "LIST").write_bytes(b"\xff\xfe\nx\x00y\n" + 5000 * b"z" + b"\n100\n\x1b[2J\n%s {} $x$\n")
    assert predict("--list", data / "LIST", "--out", tmp_path) == 3
    failed = capsys.readouterr().err.splitlines()[:-1]
    assert len(failed) == 5 and all(line.isprintable() for line in failed)


def test_a_folder_that_cannot_be_listed_is_told(data, monkeypatch):
    listed = os.scandir

    def closed(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    (data / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", closed)
    assert [one.name for one in records_below(data) if one.problem] == ["closed"]


@pytest.mark.parametrize(
    "make", [lambda path: None, Path.mkdir, os.mkfifo, Path.touch, lambda path: path.symlink_to(path)]
)
def test_a_list_that_cannot_be_read_or_is_empty(tmp_path, make):
    make(tmp_path / "LIST")
    with pytest.raises(DeepECGError, match="LIST"):
        records_listed(tmp_path / "LIST")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "name one source"),
        (["DATA", "DATA"], "name one source"),
        (["DATA", "DATA/100"], "name one source"),
        (["DATA", "--list", "DATA/RECORDS"], "name one source"),
        (["DATA/100", "--workers", "2"], "--workers has no meaning"),
        (["DATA", "--workers", "-1"], "--workers -1"),
        (["DATA", "--min-confidence", "2"], "--min-confidence 2"),
        (["DATA", "--checkpoint", "DATA/absent.pt"], "absent.pt is missing"),
        (["DATA/empty"], "holds no record"),
    ],
)
def test_what_cannot_be_begun_is_one_line(data, tmp_path, capsys, arguments, said):
    (data / "empty").mkdir()
    arguments = [argument.replace("DATA", str(data)) for argument in arguments]
    assert predict(*arguments, "--out", tmp_path / "out", options=["--preset", "edge"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_folder_beside_a_record_of_its_name_is_the_record(data, tmp_path):
    (data / "100").mkdir()
    assert predict(data / "100", "--out", tmp_path / "out", options=OPTIONS[:4]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "100.pred", "100-SYNTHETIC.csv", "100-SYNTHETIC.png", "100.json", "100-SYNTHETIC.html",
        "100-events-SYNTHETIC.csv",
    }  # fmt: skip


def test_where_no_result_can_be_written_the_run_ends(made, tmp_path, monkeypatch, capsys):
    def full(*unused):
        raise DeepECGError("no room")

    monkeypatch.setattr(archive, "write_results", full)
    assert predict(made, "--out", tmp_path / "out") == 3  # each time there is room after all
    assert len((tmp_path / "out" / MANIFEST).read_text().splitlines()) == 5
    capsys.readouterr()

    def fills_up(*unused):
        monkeypatch.setattr(archive, "check_writable", full)
        full()

    monkeypatch.setattr(archive, "write_results", fills_up)
    assert predict(made, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == "error: no room\n"


def test_a_full_disk_ends_the_run_at_its_first_record(made, tmp_path, monkeypatch, capsys):
    """Though a small file still fits, as beside a report that did not."""
    tried = []

    def fails(source, target):
        tried.append(target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for arguments in ([made], [made / "100", made / "203"]):
        tried.clear()
        monkeypatch.setattr(os, "replace", fails)
        options = OPTIONS if len(arguments) == 1 else OPTIONS[:4]
        assert predict(*arguments, "--out", tmp_path / "out", options=options) == 2
        monkeypatch.undo()
        [line] = capsys.readouterr().err.splitlines()
        assert "(No space left on device): make room, or choose another folder" in line and len(tried) == 1
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("anew", [False, True], ids=["gone", "made anew"])
def test_an_output_folder_that_is_deleted_ends_the_run_at_the_next_record(made, tmp_path, monkeypatch, capsys, anew):
    out, done, label = tmp_path / "out", [], archive._label

    def label_and_delete(*arguments):
        entry = label(*arguments)
        done.append(arguments[1])
        shutil.rmtree(out)
        out.mkdir() if anew else None
        return entry

    monkeypatch.setattr(archive, "_label", label_and_delete)
    assert predict(made, "--out", out) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out}") and "was deleted while results were being written: run" in line
    assert len(done) == 1 and not list(tmp_path.rglob("*.csv"))


def test_a_record_that_kills_its_worker_is_told_apart(monkeypatch):
    """Of the records in hand when a worker died, each is tried again in a process of its own."""
    started = []

    def deadly(jobs, workers):
        for _, (_, one), _ in jobs:
            started.append(one.name)
            if one.name == "deadly":
                raise WorkerDied("a worker process has died")
            yield archive.Outcome(one.name, {})

    monkeypatch.setattr(archive, "run_jobs", deadly)
    names = ["a", "b", "deadly", *"cdefghij"]
    job = archive.Job(Path("root"), *[None] * 10)
    outcomes = list(archive._by_processes(job, [Found(name) for name in names], 1))
    assert [json.loads(one.line)["record"] if one.why else one.line for one in outcomes] == names
    assert [one.why for one in outcomes if one.why] == ["record root/deadly: a worker process has died"]
    assert started == ["a", "b", "deadly", "deadly", *"cdefghij"]
