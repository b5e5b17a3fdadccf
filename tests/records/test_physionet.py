"""Download of the database from a loopback server that answers as PhysioNet does, and its hash checks."""

import functools
import socket
import sys
import threading

import numpy as np
import pytest
import requests
import wfdb

from config import DATA_DIR_VARIABLE
from deep_ecg.records import physionet
from deep_ecg.records.physionet import (
    MITDB_SHA256SUMS,
    Patience,
    expected_files,
    missing_files,
    read_hashes,
    verify_files,
)
from deep_ecg.system.errors import DeepECGError
from tests.support.physionet_server import Server, hash_list, sha256

QUICK = Patience(backoff_s=0.0)
download = functools.partial(physionet.download, patience=QUICK)
RECORDS = ("100", "101")
NAMES = ["100.hea", "100.dat", "100.atr", "101.hea", "101.dat", "101.atr"]
SERVED = {"SHA256SUMS.txt", "RECORDS", *NAMES}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """Two small WFDB records of random numbers, with RECORDS and SHA256SUMS.txt."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    for record in RECORDS:
        wfdb.wrsamp(
            record,
            fs=360,
            units=["mV", "mV"],
            sig_name=["MLII", "V1"],
            p_signal=rng.normal(size=(40_000, 2)).clip(-4, 4),
            fmt=["212", "212"],
            adc_gain=[200, 200],
            baseline=[1024, 1024],
            write_dir=str(folder),
        )
        wfdb.wrann(record, "atr", np.arange(100, 39_000, 300), ["N"] * 130, write_dir=str(folder))
    content = {name: (folder / name).read_bytes() for name in NAMES}
    content["RECORDS"] = b"100\n101\n"
    content["SHA256SUMS.txt"] = hash_list(content)
    return content


@pytest.fixture
def server(files, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    loopback = Server(dict(files))
    thread = threading.Thread(target=loopback.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield loopback
    loopback.released.set()
    loopback.shutdown()
    loopback.server_close()


def assert_whole(folder, files):
    assert {path.name for path in folder.iterdir()} == SERVED
    for name in SERVED:
        assert (folder / name).read_bytes() == files[name]


def error_of(folder, url, **kwargs) -> str:
    """The message of the failing download: one line."""
    with pytest.raises(DeepECGError) as caught:
        download(folder, url, RECORDS, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_expected_files_are_header_signal_and_annotations():
    assert expected_files(["100", "234"]) == ["100.hea", "100.dat", "100.atr", "234.hea", "234.dat", "234.atr"]


def test_half_filled_folder_has_missing_files(tmp_path):
    assert missing_files(tmp_path / "absent", NAMES) == NAMES
    for name in ("100.hea", "100.dat", "101.hea"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "100.atr.part").write_bytes(b"x")
    (tmp_path / "101.dat").write_bytes(b"")
    assert missing_files(tmp_path, NAMES) == ["100.atr", "101.dat", "101.atr"]


def test_read_hashes_takes_every_layout_of_a_list(tmp_path):
    assert read_hashes(tmp_path) == {}
    a, b, c = sha256(b"a"), sha256(b"b"), sha256(b"c")
    text = f"{a}  100.dat\r\n{b} 100.hea\n{c.upper()} *x_mitdb/x_108.dat\n\n<html>\nabc  100.atr\n"
    (tmp_path / "SHA256SUMS.txt").write_text(text)
    assert read_hashes(tmp_path) == {"100.dat": a, "100.hea": b, "x_mitdb/x_108.dat": c}


def test_verify_files_names_the_file_that_is_wrong(tmp_path):
    (tmp_path / "100.hea").write_bytes(b"good")
    (tmp_path / "100.dat").write_bytes(b"changed")
    verify_files(tmp_path, ["100.hea", "100.dat"])  # no list, nothing to check against
    (tmp_path / "SHA256SUMS.txt").write_text(f"{sha256(b'good')}  100.hea\n{sha256(b'first')}  100.dat\n")
    verify_files(tmp_path, ["100.hea"])
    with pytest.raises(DeepECGError, match=r"100\.dat differs .* delete it"):
        verify_files(tmp_path, ["100.hea", "100.dat"])
    with pytest.raises(DeepECGError, match=r"does not name 100\.atr"):
        verify_files(tmp_path, ["100.atr"])
    (tmp_path / "100.dat").unlink()
    with pytest.raises(DeepECGError, match=r"cannot read .*100\.dat"):
        verify_files(tmp_path, ["100.dat"])


def test_download_brings_every_file_and_wfdb_reads_it(tmp_path, server, files):
    folder = tmp_path / "new" / "mitdb"
    download(folder, server.url, RECORDS)
    assert_whole(folder, files)
    assert [name for name, _ in server.requests[:2]] == ["SHA256SUMS.txt", "RECORDS"]
    assert missing_files(folder, NAMES) == []
    verify_files(folder, NAMES)
    record = wfdb.rdrecord(str(folder / "101"))
    assert (record.sig_len, record.sig_name) == (40_000, ["MLII", "V1"])


def test_url_may_lack_the_final_slash(tmp_path, server, files):
    download(tmp_path, server.url.rstrip("/"), RECORDS)
    assert_whole(tmp_path, files)


def test_whole_files_are_not_fetched_again_and_wrong_ones_are(tmp_path, server, files):
    download(tmp_path, server.url, RECORDS)
    (tmp_path / "100.dat").unlink()
    (tmp_path / "101.atr").write_bytes(b"damaged")
    server.requests.clear()
    download(tmp_path, server.url, RECORDS)
    assert sorted(name for name, _ in server.requests) == ["100.dat", "101.atr", "SHA256SUMS.txt"]
    assert_whole(tmp_path, files)


def test_dropped_connection_is_continued_by_range(tmp_path, server, files):
    server.faults["100.dat"] = ["drop"]
    download(tmp_path, server.url, RECORDS)
    first, second = server.asked("100.dat")
    assert first is None
    held = int(second.removeprefix("bytes=").rstrip("-"))
    half = len(files["100.dat"]) // 2
    assert half - physionet.CHUNK_BYTES <= held <= half
    assert_whole(tmp_path, files)


def test_next_run_continues_where_the_last_one_broke_off(tmp_path, server, files):
    server.faults["101.dat"] = ["drop"]
    assert server.url + "101.dat" in error_of(tmp_path, server.url, patience=Patience(tries=1))
    assert missing_files(tmp_path, NAMES) == ["101.dat", "101.atr"]
    held = (tmp_path / "101.dat.part").stat().st_size
    assert 0 < held < len(files["101.dat"])
    server.requests.clear()
    download(tmp_path, server.url, RECORDS)
    assert server.requests == [("SHA256SUMS.txt", None), ("101.dat", f"bytes={held}-"), ("101.atr", None)]
    assert_whole(tmp_path, files)


def test_ctrl_c_keeps_what_has_come(tmp_path, server, files, monkeypatch):
    read_chunks = requests.Response.iter_content

    def stop_in_signal_file(response, size):
        for chunk in read_chunks(response, size):
            yield chunk
            if response.url.endswith("100.dat"):
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", stop_in_signal_file)
        with pytest.raises(KeyboardInterrupt):
            download(tmp_path, server.url, RECORDS)
    assert (tmp_path / "100.dat.part").stat().st_size == physionet.CHUNK_BYTES
    assert missing_files(tmp_path, NAMES) == NAMES[1:]
    download(tmp_path, server.url, RECORDS)
    assert server.asked("100.dat") == [None, f"bytes={physionet.CHUNK_BYTES}-"]
    assert server.asked("100.hea") == [None]
    assert_whole(tmp_path, files)


def test_server_without_ranges_sends_the_file_anew(tmp_path, server, files):
    server.has_ranges = False
    server.faults["100.dat"] = ["drop"]
    download(tmp_path, server.url, RECORDS)
    first, second = server.asked("100.dat")
    assert first is None and second.startswith("bytes=")
    assert_whole(tmp_path, files)


def test_whole_part_is_renamed_without_a_request(tmp_path, server, files):
    (tmp_path / "100.dat.part").write_bytes(files["100.dat"])
    download(tmp_path, server.url, RECORDS)
    assert server.asked("100.dat") == []
    assert_whole(tmp_path, files)


@pytest.mark.parametrize("left_bytes", [1000, 200_000], ids=["shorter", "longer than the file"])
def test_part_of_other_content_is_thrown_away(tmp_path, server, files, left_bytes):
    (tmp_path / "100.dat.part").write_bytes(b"?" * left_bytes)
    download(tmp_path, server.url, RECORDS)
    assert server.asked("100.dat") == [f"bytes={left_bytes}-", None]
    assert_whole(tmp_path, files)


def test_list_of_an_earlier_run_is_not_continued(tmp_path, server, files):
    (tmp_path / "SHA256SUMS.txt.part").write_bytes(files["SHA256SUMS.txt"])
    server.faults["SHA256SUMS.txt"] = ["drop"]
    download(tmp_path, server.url, RECORDS)
    assert server.asked("SHA256SUMS.txt")[0] is None
    assert_whole(tmp_path, files)


def test_wrong_content_is_fetched_once_more(tmp_path, server, files):
    server.faults["100.atr"] = ["wrong"]
    download(tmp_path, server.url, RECORDS)
    assert server.asked("100.atr") == [None, None]
    assert_whole(tmp_path, files)


def test_content_wrong_twice_is_an_error_and_leaves_no_file(tmp_path, server):
    server.faults["100.atr"] = ["wrong"] * 9
    message = error_of(tmp_path, server.url)
    assert "100.atr" in message and "SHA-256" in message
    assert len(server.asked("100.atr")) == 2
    assert not (tmp_path / "100.atr").exists() and not (tmp_path / "100.atr.part").exists()


def test_busy_server_is_asked_again(tmp_path, server, files):
    server.faults["101.hea"] = [503, 503]
    download(tmp_path, server.url, RECORDS)
    assert len(server.asked("101.hea")) == 3
    assert_whole(tmp_path, files)


@pytest.mark.parametrize(("status", "requests_made"), [(404, 1), (403, 1), (503, Patience.tries)])
def test_refusing_server_is_one_clear_error(tmp_path, server, status, requests_made):
    server.faults["100.hea"] = [status] * 99
    message = error_of(tmp_path, server.url)
    assert server.url + "100.hea" in message and str(status) in message
    assert "connection" in message and '"local"' in message and DATA_DIR_VARIABLE in message
    assert len(server.asked("100.hea")) == requests_made


def test_silent_server_is_left_after_the_timeout(tmp_path, server):
    server.faults["SHA256SUMS.txt"] = ["hang"] * 99
    message = error_of(tmp_path, server.url, patience=Patience(read_timeout_s=0.1, backoff_s=0.0))
    assert server.url in message and "no answer in time" in message
    assert len(server.asked("SHA256SUMS.txt")) == Patience.tries


def test_refused_connection_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as bound:  # bound but not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/mitdb/"
        message = error_of(tmp_path, url)
    assert url in message and "no connection" in message and DATA_DIR_VARIABLE in message


@pytest.mark.parametrize("url", ["mitdb", "http://", "gopher://127.0.0.1/mitdb/", "http://a..b/mitdb/"])
def test_unusable_url_is_one_clear_error(tmp_path, url):
    assert "physionet_url" in error_of(tmp_path, url)


def test_unknown_host_is_one_clear_error(tmp_path, monkeypatch):
    def no_name(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    assert "https://physionet.invalid/mitdb/" in error_of(tmp_path, "https://physionet.invalid/mitdb/")


def test_folder_that_cannot_be_written_is_one_clear_error(tmp_path, server):
    (tmp_path / "file").write_text("")
    message = error_of(tmp_path / "file" / "mitdb", server.url)
    assert "cannot write" in message and str(tmp_path / "file" / "mitdb") in message
    (tmp_path / "mitdb" / "100.dat").mkdir(parents=True)
    assert "cannot write" in error_of(tmp_path / "mitdb", server.url)


def test_only_expected_names_are_written(tmp_path, server, files):
    evil = b"outside"
    for name in ("../evil.dat", "/evil.dat", "100.xws"):
        server.files[name] = evil
        server.files["SHA256SUMS.txt"] += f"{sha256(evil)}  {name}\n".encode()
    folder = tmp_path / "mitdb"
    download(folder, server.url, RECORDS)
    assert {path.name for path in folder.iterdir()} == SERVED
    assert {path.name for path in tmp_path.iterdir()} == {"mitdb"}
    assert {name for name, _ in server.requests} == SERVED


def test_list_that_lacks_a_file_is_an_error(tmp_path, server):
    server.files["SHA256SUMS.txt"] = b"<html>Sign in to this network</html>"
    message = error_of(tmp_path, server.url)
    assert "does not name RECORDS" in message and "physionet_url" in message


def test_list_other_than_the_pinned_one_is_refused(tmp_path, server):
    message = error_of(tmp_path, server.url, sums_sha256=MITDB_SHA256SUMS)
    assert "SHA256SUMS.txt" in message
    assert list(tmp_path.iterdir()) == []
    assert {name for name, _ in server.requests} == {"SHA256SUMS.txt"}


def test_no_bar_where_there_is_no_terminal(tmp_path, server, capsys):
    download(tmp_path, server.url, RECORDS, progress=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_bar_on_a_terminal(tmp_path, server, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(tmp_path, server.url, RECORDS, progress=True)
    assert "7/7" in capsys.readouterr().err  # RECORDS and three files of each record


def test_real_files_have_their_published_hashes(mitdb):
    names = ["100.hea", "100.atr", "114.hea", "202.atr", "234.hea", "100.dat"]
    verify_files(mitdb, names)
    # Hashes of record 100 as other public projects have recorded them from PhysioNet.
    hashes = read_hashes(mitdb)
    assert hashes["100.dat"] == "b2ea3c250e56e48f4b7b90697832b8ecd1afa1e0bb31f2dcfea4ed6e1075a639"
    assert hashes["100.atr"] == "8d8a5349fb16638ebbf649f1779d12e96d91b736b2aafe59db43719ae583d471"


def test_pinned_digest_is_that_of_the_published_hashes(mitdb):
    entries = dict(reversed(line.split()) for line in (mitdb / "SHA256SUMS.txt").read_text().splitlines())
    ours = [path.name for path in mitdb.iterdir() if path.suffix in (".atr", ".dat", ".hea")]
    names = sorted(["RECORDS", *(name for name in ours if name[:3].isdigit() and name[3] == ".")])
    assert len(names) == 1 + 48 * 3
    assert sha256("".join(f"{entries[name]}  {name}\n" for name in names).encode()) == MITDB_SHA256SUMS


def test_pinned_digest_holds_for_physionets_layout_of_the_list(tmp_path, mitdb, server):
    entries = read_hashes(mitdb)
    further = ["100.xws", "102-0.atr", "203.at-", "x_mitdb/x_108.dat", "mitdbdir/records.htm"]
    lines = [f"{sha256(name.encode())} {name}" for name in further]
    lines += [f"{entries[name]} {name}" for name in sorted(entries, reverse=True)]
    names = ["RECORDS", "100.hea", "100.dat", "100.atr"]
    server.files = {name: (mitdb / name).read_bytes() for name in names}
    server.files["SHA256SUMS.txt"] = "\n".join(lines).encode()
    download(tmp_path, server.url, ["100"], sums_sha256=MITDB_SHA256SUMS)
    assert missing_files(tmp_path, expected_files(["100"])) == []
    # One changed hash in the list is enough to refuse it.
    server.files["SHA256SUMS.txt"] = "\n".join(lines).replace(entries["234.dat"], sha256(b"other")).encode()
    assert "SHA256SUMS.txt" in error_of(tmp_path, server.url, sums_sha256=MITDB_SHA256SUMS)
