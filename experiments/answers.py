"""What this checkout answers, as digests: two that answer alike to the bit have the same ones.

Of each mode the inputs of the network and one epoch of training; of each pretrained network its weights, probabilities,
labels, scores, files of `predict` and streams; the firmware, and what it says of three records. `--out` keeps the
digests, `--against` compares them with those that another checkout has kept on the same machine with the same packages,
and ends with status 2 where one differs. Takes half an hour.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import onnx
import torch

from config import DS1, DS2, MODES, PRESETS, Config
from data_loader import load_beats, load_replays
from deep_ecg.beats.arrays import Beats
from deep_ecg.deploy import c_chain
from deep_ecg.deploy.integer_network import quantized
from deep_ecg.labelling.annotations import write_annotations
from deep_ecg.labelling.predict import label_record
from deep_ecg.labelling.stream import BeatStream
from deep_ecg.labelling.table import write_table
from deep_ecg.networks.classifier import PRETRAINED, Classifier, load_classifier
from deep_ecg.networks.onnx_network import OnnxNetwork
from deep_ecg.networks.temperature import tempered
from deep_ecg.networks.torch_network import load_checkpoint, predict_proba
from deep_ecg.records.database import Source, real_source
from deep_ecg.records.wfdb_files import read_record
from deep_ecg.scoring.ec57 import score_records
from deep_ecg.scoring.measures import evaluate_beats
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json, write_json
from deep_ecg.training.experiment import network_proba, train
from model import HybridECGNet

STREAMED, STREAMED_S, CHUNK_SAMPLES = ("221", "232"), 200, 97  # records, how much of each, and a push
IN_C = ("114", "221", "232")
OF_BEATS = ("windows", "features", "labels", "samples", "groups")
IN_FIRMWARE = ("samples", "known", "late", "labels", "logits", "windows", "features")
Answers = Iterator[tuple[str, str]]  # name and digest of each


def add_options(parser: argparse.ArgumentParser):
    """Where the digests go, and what they are compared with."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the digests")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with those that another checkout kept")


def run(options: argparse.Namespace):
    """Prints every digest; keeps them and compares them as the user asks."""
    other = read_json(options.against) if options.against else {}  # one that is missing is told before the work
    found = {}
    for name, value in answers():
        print(f"{name}: {value[:16]}{' differs' * (other.get(name, value) != value)}", flush=True)
        found[name] = value
    if options.out:
        write_json(options.out, found)
    if options.against:
        compare(found, other, options.against)


def compare(found: dict[str, str], other: dict[str, str], path: Path):
    """Prints where the digests `found` are not those of `other`, which `path` holds. DeepECGError where any is not.

    What only `found` has is new, and no difference.
    """
    differing = [name for name, value in other.items() if found.get(name) != value]
    for name in found.keys() - other.keys():
        print(f"not in {path}: {name}")
    for name in differing:
        print(f"differs from {path}: {name}" if name in found else f"no longer answered: {name}")
    if differing:
        raise DeepECGError(f"{len(differing)} of {len(other)} answers are not those of {path}: see the lines above")
    print(f"all {len(other)} answers are those of {path}")


def digest(*parts: np.ndarray | bytes | dict | list) -> str:
    """SHA-256 of arrays with their kinds and shapes, bytes, and what JSON can hold."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            found.update(part)
        else:
            found.update(json.dumps(part, sort_keys=True, default=float).encode())
    return found.hexdigest()


def answers() -> Answers:
    """Every answer of this checkout on the real database, one thread."""
    torch.set_num_threads(1)
    source = real_source(Config())
    for mode in MODES:
        yield from of_inputs(mode, source)
    for mode in MODES:
        for preset in PRESETS:
            yield from of_network(mode, preset, source)
    yield from of_firmware(source)
    for mode in MODES:
        yield from of_training(mode, source)


def of_inputs(mode: str, source: Source) -> Answers:
    """What the network sees: the beats of DS1 and DS2, and the replays of DS1."""
    config = Config(mode=mode)
    for name, load, records in (
        ("beats DS1", load_beats, DS1), ("beats DS2", load_beats, DS2), ("replays DS1", load_replays, DS1)
    ):  # fmt: skip
        beats = load(source, records, config)
        yield f"{mode}: {name}", digest(*arrays(beats, OF_BEATS), beats.records.tolist())


def arrays(values: object, names: tuple[str, ...]) -> list[np.ndarray]:
    """The arrays of these names that `values` holds."""
    return [np.asarray(getattr(values, name)) for name in names]


def of_network(mode: str, preset: str, source: Source) -> Answers:
    """What a pretrained network is and says of DS2, and of records through `predict` and a stream."""
    classifier = load_classifier(Config(mode=mode, preset=preset), runtime="torch")
    config = classifier.description.applied_to(Config())
    beats = load_beats(source, DS2, config)
    found = {**of_probabilities(classifier, beats), **of_onnx(PRETRAINED / f"{mode}-{preset}.onnx", beats)}
    for name, value in found.items():
        yield f"{mode}-{preset}: {name}", value
    for name, value in of_predict(classifier, source):
        yield f"{mode}-{preset}: {name}", value
    for name in STREAMED:
        yield f"{mode}-{preset}: stream {name}", of_stream(classifier, source.folder / name)


def of_probabilities(classifier: Classifier, beats: Beats) -> dict[str, str]:
    """Weights, and what the network, its priors and its temperature make of `beats`."""
    network, decision = cast(torch.nn.Module, classifier.model), classifier.description.decision
    proba = network_proba(network, decision, beats)
    return {
        "weights": digest(*weights(network)),
        "network": digest(predict_proba(network, beats.windows, beats.features)),
        "with priors": digest(proba),
        "calibrated": digest(tempered(proba, decision.temperature)),
        "labels": digest(proba.argmax(axis=1)),
        "scores": digest(evaluate_beats(beats.labels, proba, beats.records, temperature=decision.temperature)),
    }


def weights(network: torch.nn.Module) -> list[np.ndarray]:
    """Every weight and statistic of a network."""
    return [value.numpy() for value in network.state_dict().values()]


def of_onnx(path: Path, beats: Beats) -> dict[str, str]:
    """What the int8 network at `path` says of `beats`, and its graph."""
    graph = onnx.load(path).graph.SerializeToString(deterministic=True)
    proba = OnnxNetwork(path).predict_proba(beats.windows, beats.features)
    return {"onnx": digest(proba), "onnx graph": digest(graph)}


def of_predict(classifier: Classifier, source: Source) -> Answers:
    """The files that `predict` writes for DS2, what they say apart from how, and EC57's report of them."""
    with TemporaryDirectory() as folder:
        labelled = []
        for name in DS2:
            labelled.append(label_record(source.folder / name, classifier, Config()))
            write_annotations(Path(folder) / f"{name}.pred", labelled[-1])
            write_table(Path(folder) / f"{name}.csv", labelled[-1])
        files = [(Path(folder) / f"{name}.{ending}").read_bytes() for name in DS2 for ending in ("pred", "csv")]
        yield "predict files", digest(*files)
        yield "predict annotations", digest(*files[::2])
        yield "predict labels", digest(*(part for one in labelled for part in (one.samples, one.predicted, one.proba)))
        with redirect_stdout(StringIO()):
            report = score_records([str(source.folder / name) for name in DS2], "pred", test_folder=Path(folder))
        yield "EC57", digest(report)


def of_stream(classifier: Classifier, path: Path) -> str:
    """What a stream says of the beginning of the record at `path` (no extension), fed in odd pieces."""
    record = read_record(path, Config.lead)
    stream = BeatStream(classifier, record.fs_hz)
    signal_mv = record.signal_mv[: round(STREAMED_S * record.fs_hz)]
    chunks_mv = (signal_mv[at : at + CHUNK_SAMPLES] for at in range(0, len(signal_mv), CHUNK_SAMPLES))
    beats = [beat for chunk_mv in chunks_mv for beat in stream.push(chunk_mv)] + stream.finish()
    told = [[beat.sample, beat.known, beat.label, beat.late, beat.complete] for beat in beats]
    return digest(np.stack([beat.proba for beat in beats]), told)


def of_firmware(source: Source) -> Answers:
    """The files of the firmware, and what they say of the records IN_C, compiled for this machine."""
    network, description = load_checkpoint(PRETRAINED / "causal-edge.pt", (HybridECGNet,))
    int8 = quantized(network, load_beats(source, DS1, Config(mode="causal", preset="edge")))
    with TemporaryDirectory() as folder:
        c_chain.build(int8, description, Path(folder))
        for path in sorted(Path(folder).iterdir()):
            yield f"firmware: {path.name}", digest(path.read_bytes())
        chain = c_chain.HostChain(Path(folder))
    for name in IN_C:
        beats = chain.label(read_record(source.folder / name, Config.lead).signal_mv.astype(np.float32))
        yield f"firmware: {name}", digest(*arrays(beats, IN_FIRMWARE))


def of_training(mode: str, source: Source) -> Answers:
    """The weights that one epoch of the `edge` preset makes."""
    config = Config(mode=mode, preset="edge", epochs=1)
    ds1, replays = load_beats(source, DS1, config), load_replays(source, DS1, config)
    with TemporaryDirectory() as folder:
        trained = train(config, source, ds1, replays, 0, Path(folder), say=lambda line: None)
    yield f"{mode}-edge: one epoch of training", digest(*weights(trained.model))
