"""The firmware's chain in C against the stream in Python: whether beats, inputs and labels are the same.

The network is the pretrained causal `edge` one; its int8 form is chosen on DS1. Needs the real database and a C
compiler. Takes some minutes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from config import CLASSES, DS1, DS2, Config, with_overrides
from data_loader import load_beats
from deep_ecg.deploy.c_chain import HostChain, build
from deep_ecg.deploy.integer_network import IntegerNetwork, quantized
from deep_ecg.labelling.stream import BeatStream
from deep_ecg.networks.classifier import Classifier, load_network
from deep_ecg.networks.prior import RunningPrior
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import Record, read_record
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, number

REPORT = "embedded.json"
NEIGHBOURS = 400  # beats whose rhythm a moved R-peak may still be part of


def add_options(parser: argparse.ArgumentParser):
    """The folder of the cache."""
    parser.add_argument("--cache", default=Config.cache_dir, metavar="DIR", help="folder of the cache of beats")


def run(options: argparse.Namespace) -> dict:
    """The report, with the cache that the user names."""
    return measure(with_overrides(Config(mode="causal", preset="edge"), cache_dir=options.cache))


def measure(config: Config) -> dict:
    """The report: every record's comparison and their sums. Raises DeepECGError without the database or a compiler."""
    source, (model, description) = real_source(config), load_network(config)
    network = quantized(model, load_beats(source, DS1, description.applied_to(config)))
    with TemporaryDirectory() as folder:
        build(network, description, Path(folder))
        chain = HostChain(Path(folder))
    records = (read_record(source.folder / name, description.leads) for name in (*DS1, *DS2))
    rows = [compare(chain, record, Classifier(model, description), network) for record in records]
    return {"all": summed(rows), "state_bytes": chain.state_bytes, "records": rows, "versions": versions()}


def compare(chain: HostChain, record: Record, classifier: Classifier, network: IntegerNetwork) -> dict:
    """How the chain in C differs from the stream in Python on one record, both fed the same float32 samples.

    Where the two place an R-peak on different samples the inputs of that beat and the rhythm of those after it differ
    too; "inputs" are compared where no R-peak of the last NEIGHBOURS beats does.
    """
    signal_mv = record.signal_mv.astype(np.float32)
    found = chain.label(signal_mv)
    prepared = BeatStream(classifier, record.fs_hz).prepare(signal_mv.astype(float))
    samples, known = (np.array([getattr(beat, name) for beat in prepared]) for name in ("sample", "known"))
    windows, features = (np.stack([getattr(beat, name) for beat in prepared]) for name in ("window", "features"))
    both, here, there = np.intersect1d(samples, found.samples, return_indices=True)
    columns = ("readable", "group", "rr_s")
    readable, groups, rr_s = (np.array([getattr(beat, name) for beat in prepared]) for name in columns)
    proba = network.proba(windows[readable], features[readable])
    labels = np.full(len(prepared), CLASSES.index("Q"))
    prior = RunningPrior(classifier.description.decision)
    labels[readable] = prior(proba, groups[readable], rr_s[readable]).argmax(axis=1)
    clean = clean_beats(samples, both)[here]
    return {
        "record": record.name,
        "beats": len(samples),
        "beats_in_c": len(found.samples),
        "r_peaks_moved": len(samples) - len(both),
        "known_differs": int((known[here] != found.known[there]).sum()),
        "label_differs": int((labels[here] != found.labels[there]).sum()),
        "label_differs_clean": int((labels[here] != found.labels[there])[clean].sum()),
        "clean_beats": int(clean.sum()),
        "window_difference": float(np.abs(windows[here] - found.windows[there])[clean].max(initial=0)),
        "feature_difference": float(np.abs(features[here] - found.features[there])[clean].max(initial=0)),
    }


def clean_beats(samples: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Which beats of `samples` have no moved R-peak, one that is not in `both`, among the last NEIGHBOURS, (beats,)."""
    moved = np.cumsum(np.concatenate((np.zeros(NEIGHBOURS + 2), ~np.isin(samples, both))))
    return moved[NEIGHBOURS + 2 :] == moved[: -NEIGHBOURS - 2]


def summed(rows: Sequence[dict]) -> dict:
    """Counts added over the records, differences at their largest."""
    names = [name for name in rows[0] if name != "record"]
    return {name: (max if name.endswith("difference") else sum)(row[name] for row in rows) for name in names}


def table(report: dict) -> list[str]:
    """Markdown lines: the sums over all records."""
    found = report["all"]
    header = ["records", "beats", "R-peaks on another sample", "labels that differ", "largest difference of a window"]
    row = [number(len(report["records"])), *(number(found[name]) for name in ("beats", "r_peaks_moved"))]
    row += [number(found["label_differs"]), f"{found['window_difference']:.0e}", number(report["state_bytes"])]
    return markdown_table([*header, "bytes of its state"], [row])
