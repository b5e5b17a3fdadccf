"""Tests of engine.py: reproducible training, interruption and resumption, what is kept, checkpoints."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from config import CLASSES, Config
from deep_ecg.networks import torch_network
from deep_ecg.networks.description import FORMAT
from deep_ecg.networks.torch_network import load_checkpoint, predict_proba, round_to_half, save_checkpoint
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training import engine
from deep_ecg.training.engine import BeatTensors, Schedule
from loss import FocalLoss
from model import HybridECGNet
from tests.support import ROOT
from tests.support.networks import described

SMALL = {"feature_count": 3, "channels": [4, 4, 4], "flatten": False, "feature_hidden": 4, "hidden": 8} | {
    "kernels": [7, 5, 5],
    "dropout": 0.3,
    "flatten_dropout": 0.5,
    "wave_dropout": 0.5,
    "window_samples": 64,
    "input_channels": 1,
}
SCHEDULE = Schedule(epochs=5, learning_rate=0.02, batch_size=32, weight_decay=1e-3)
DESCRIPTION = replace(described(Config(mode="causal")), features=("pre_rr_s", "a", "b"))


def toy_beats(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Separable beats: S (1) by its first feature, V (2) by a wave in its window, N (0) by neither."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    windows = 0.1 * rng.standard_normal((count, 1, 64)).astype(np.float32)
    windows[labels == 2, 0, 24:40] += 1
    features = 0.1 * rng.standard_normal((count, 3)).astype(np.float32)
    features[labels == 1, 0] -= 1
    return windows, features, labels


@pytest.fixture
def training():
    return BeatTensors(*toy_beats(192, seed=1))


@pytest.fixture
def validation():
    return BeatTensors(*toy_beats(60, seed=2))


def network(seed: int = 0) -> HybridECGNet:
    engine.seed_everything(seed)
    return HybridECGNet(**SMALL)


def fit(net, training, validation, schedule=SCHEDULE, seed=0, **options):
    return engine.fit(net, training, validation, FocalLoss(), schedule, seed, **options)


def copy_of(net: nn.Module) -> dict:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def same_bits(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Interrupter(FocalLoss):
    """As `on_epoch` or as loss function, presses Ctrl-C at its `at`-th call."""

    def __init__(self, at: int):
        super().__init__()
        self.calls, self.at = 0, at

    def on_epoch(self, entry):
        self._call()

    def forward(self, logits, labels):
        self._call()
        return super().forward(logits, labels)

    def _call(self):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt


class Spy(nn.Module):
    """A small network that remembers the first feature of each beat of every batch that it is trained on."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(3, 5), []

    def forward(self, windows, features):
        if self.training:
            self.seen.append(features[:, 0].int().tolist())
        return self.layer(features)


# Training ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(training, validation):
    first, second, other = network(3), network(3), network(4)
    states = []
    for net, seed in ((first, 3), (second, 3), (other, 4)):
        engine.seed_everything(seed)
        history = fit(net, training, validation, seed=seed)
        states.append((copy_of(net), history))
    assert same_bits(states[0][0], states[1][0])
    assert states[0][1] == states[1][1]
    assert not same_bits(states[0][0], states[2][0])


def test_it_learns_what_can_be_learnt(training, validation):
    net = network()
    history = fit(net, training, validation, replace(SCHEDULE, epochs=12))
    unseen = toy_beats(300, seed=9)
    assert (predict_proba(net, *unseen[:2]).argmax(axis=1) == unseen[2]).mean() > 0.95
    assert history.epochs[-1]["train_loss"] < history.epochs[0]["train_loss"]
    assert [entry["epoch"] for entry in history.epochs] == list(range(1, 13))


def test_lines_within_an_epoch_say_how_far_it_is(training, validation, monkeypatch):
    """192 beats in batches of 32: after each of the 6, a sixth of the epoch more."""
    told = []
    monkeypatch.setattr(engine, "telling", lambda items, tell: (tell(item) or item for item in items))
    fit(network(), training, validation, replace(SCHEDULE, epochs=2), tell=told.append)
    assert told[:6] == [f"epoch 1 of 2, {percent} %" for percent in (0, 16, 33, 50, 66, 83)]
    assert len(told) == 12 and told[-1] == "epoch 2 of 2, 83 %"


def test_a_training_loads_no_compiler():
    """Torch's own AdamW does, and its switch to deterministic algorithms."""
    program = "from tests.training.test_engine import *; fit(network(), BeatTensors(*toy_beats(192, seed=1)), None)"
    loaded = "import sys; print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{program}; {loaded}"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_threads_and_seed_are_set():
    before = torch.get_num_threads()
    try:
        engine.seed_everything(5)
        drawn = torch.rand(1), np.random.rand()
        engine.seed_everything(5)
        assert drawn == (torch.rand(1), np.random.rand())
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_more_batch_than_beats_is_a_clear_error(training, validation):
    schedule = Schedule(epochs=1, learning_rate=0.01, batch_size=193, weight_decay=0)
    with pytest.raises(DeepECGError, match="batch_size = 193"):
        fit(network(), training, validation, schedule)


def named_beats(counts: tuple[int, ...], strata: bool) -> BeatTensors:
    """`counts` beats of each stratum; a beat's first feature is its number. Without `strata` these are the labels."""
    kinds = np.repeat(np.arange(len(counts)), counts)
    features = np.zeros((len(kinds), 3), np.float32)
    features[:, 0] = np.arange(len(kinds))
    windows = np.zeros((len(kinds), 1, 8), np.float32)
    return BeatTensors(windows, features, kinds % 3 if strata else kinds, kinds if strata else None)


@pytest.mark.parametrize("strata", [False, True], ids=["by label", "by stratum"])
def test_an_epoch_shows_the_share_of_each_stratum_drawn_anew(strata):
    """0.34 of 100 beats, all of 30, none of 20 and half of 60: 94 in two batches of 47."""
    net = Spy()
    schedule = Schedule(2, learning_rate=1e-4, batch_size=47, weight_decay=0, shares=(0.34, 1.0, 0.0, 0.5))
    fit(net, named_beats((100, 30, 20, 60), strata), None, schedule)
    assert [len(batch) for batch in net.seen] == [47] * 4
    epochs = [net.seen[0] + net.seen[1], net.seen[2] + net.seen[3]]
    assert all(len(set(epoch)) == 94 for epoch in epochs)  # no beat twice
    for first, last, count in ((0, 100, 34), (100, 130, 30), (130, 150, 0), (150, 210, 30)):
        shown = [{beat for beat in epoch if first <= beat < last} for epoch in epochs]
        assert [len(part) for part in shown] == [count, count]
        assert count in (0, last - first) or shown[0] != shown[1]
    assert epochs[0] != sorted(epochs[0])  # strata are mixed


def test_without_shares_an_epoch_shows_every_beat():
    net = Spy()
    fit(net, named_beats((50, 7, 3), True), None, Schedule(1, learning_rate=1e-4, batch_size=20, weight_decay=0))
    assert sorted(beat for batch in net.seen for beat in batch) == list(range(60))


def test_shares_that_leave_less_than_a_batch_are_a_clear_error():
    schedule = Schedule(1, learning_rate=1e-4, batch_size=16, weight_decay=0, shares=(0.1, 0.5, 0.0))
    with pytest.raises(DeepECGError, match="batch_size = 16 is more than the 15 training beats"):
        fit(Spy(), named_beats((100, 10, 10), False), None, schedule)  # 10 + 5 + 0


def test_validation_is_optional_and_changes_nothing(training, validation):
    alone, watched = network(), network()
    engine.seed_everything(0)
    without = fit(alone, training, None)
    engine.seed_everything(0)
    beside = fit(watched, training, validation)
    assert same_bits(copy_of(alone), copy_of(watched))
    assert [set(entry) for entry in without.epochs] == [{"epoch", "train_loss"}] * 5
    assert [entry["train_loss"] for entry in beside.epochs] == [entry["train_loss"] for entry in without.epochs]
    assert all({"val_loss", "val_accuracy", "val_s_f1", "val_v_f1"} <= set(entry) for entry in beside.epochs)


def test_validation_scores_the_weights_that_would_be_kept(training, validation):
    net = network()
    history = fit(net, training, validation)
    kept = engine.validate(net, validation, FocalLoss())
    assert {name: history.epochs[-1][name] for name in kept} == kept


def test_the_last_epoch_is_kept_however_it_scores(training, validation, monkeypatch):
    """Scores that fall from epoch to epoch choose no earlier one."""
    scores = iter([0.9, 0.5, 0.1])
    monkeypatch.setattr(engine, "validate", lambda *arguments: {"val_s_f1": next(scores)})
    schedule = replace(SCHEDULE, epochs=3)
    scored, unscored = network(), network()
    engine.seed_everything(0)
    fit(scored, training, validation, schedule)
    engine.seed_everything(0)
    fit(unscored, training, None, schedule)
    assert same_bits(copy_of(scored), copy_of(unscored))


def trajectory(training, averaging: float) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The first layer's weights after each of six steps, and those that are kept at the end."""
    net, steps = network(), []
    schedule = Schedule(epochs=6, learning_rate=0.02, batch_size=192, weight_decay=0, averaging=averaging)
    name = "features.layers.0.weight"
    fit(net, training, None, schedule, on_epoch=lambda entry: steps.append(copy_of(net)[name]))
    return steps, copy_of(net)[name]


def test_the_average_of_the_weights_is_kept(training):
    """Its memory grows: the average keeps (1 + k) / (10 + k) of itself at step k, so the start is forgotten."""
    steps, kept = trajectory(training, averaging=0.99)
    average = steps[0]
    for k, step in enumerate(steps[1:], start=1):
        decay = (1 + k) / (10 + k)
        average = decay * average + (1 - decay) * step
    torch.testing.assert_close(kept, average, rtol=1e-4, atol=1e-6)
    assert not torch.equal(kept, steps[-1])


def test_without_averaging_the_last_weights_are_kept(training):
    steps, kept = trajectory(training, averaging=0.0)
    assert torch.equal(kept, steps[-1])


# Interruption ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where, call", [("epoch", 1), ("epoch", 3), ("batch", 2), ("batch", 15)])
@pytest.mark.parametrize("validated", [True, False])
def test_a_resumed_training_equals_an_undisturbed_one(training, validation, tmp_path, where, call, validated):
    """Six batches an epoch, so the loss of batch 15 interrupts in the middle of the third epoch."""
    validation = validation if validated else None
    undisturbed, state = network(), tmp_path / "resume.pt"
    expected = fit(undisturbed, training, validation)
    net, interrupter = network(), Interrupter(call + (call - 1) // 6 * validated)  # the loss is asked to validate, too
    options = {"on_epoch": interrupter.on_epoch} if where == "epoch" else {}
    loss = interrupter if where == "batch" else FocalLoss()
    with pytest.raises(KeyboardInterrupt):
        engine.fit(net, training, validation, loss, SCHEDULE, 0, state_path=state, fingerprint="a", **options)

    finished = call if where == "epoch" else (call - 1) // 6
    resumed, epochs = network(seed=99 if finished else 0), []  # the state alone decides where there is one
    history = fit(
        resumed,
        training,
        validation,
        state_path=state,
        fingerprint="a",
        on_epoch=lambda entry: epochs.append(entry["epoch"]),
    )
    assert epochs == list(range(finished + 1, 6))  # at most the epoch under way is trained again
    assert history == expected
    assert same_bits(copy_of(resumed), copy_of(undisturbed))


def test_a_finished_state_is_not_trained_again(training, validation, tmp_path):
    state, first, second = tmp_path / "resume.pt", network(), network(seed=99)
    expected = fit(first, training, validation, state_path=state, fingerprint="a")
    again = fit(second, training, validation, state_path=state, fingerprint="a", on_epoch=pytest.fail)
    assert again == expected and same_bits(copy_of(first), copy_of(second))


def test_a_state_of_another_training_is_not_gone_on_from(training, validation, tmp_path):
    state = tmp_path / "resume.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(network(), training, validation, state_path=state, fingerprint="a", on_epoch=Interrupter(3).on_epoch)
    expected = network()
    expected_history = fit(expected, training, validation)
    net = network()
    assert fit(net, training, validation, state_path=state, fingerprint="b") == expected_history
    assert same_bits(copy_of(net), copy_of(expected))


def test_a_broken_state_is_a_clear_error(training, validation, tmp_path):
    state = tmp_path / "resume.pt"
    state.write_bytes(b"half a file")
    with pytest.raises(DeepECGError, match="resume.pt.*delete it"):
        fit(network(), training, validation, state_path=state)


def test_no_temporary_file_is_left(training, validation, tmp_path):
    fit(network(), training, validation, state_path=tmp_path / "resume.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]


# Prediction --------------------------------------------------------------------------------------------------------


class Table(nn.Module):
    """Gives each beat the logits that its features are."""

    def forward(self, windows, features):
        return features


def test_validation_scores_by_hand():
    """References N S S V N called N S N V V: 3 of 5 right; S is found once of twice; V once, and once wrongly."""
    logits = 10 * np.eye(5, dtype=np.float32)[[0, 1, 0, 2, 2]]
    data = BeatTensors(np.zeros((5, 1, 8), np.float32), logits, np.array([0, 1, 1, 2, 0]))
    scores = engine.validate(Table(), data, nn.CrossEntropyLoss())
    assert scores["val_accuracy"] == pytest.approx(3 / 5)
    assert scores["val_s_f1"] == pytest.approx(2 / 3)
    assert scores["val_v_f1"] == pytest.approx(2 / 3)
    assert scores["val_loss"] == pytest.approx(2 / 5 * 10 + np.log(1 + 4 * np.exp(-10)), rel=1e-5)


def test_a_class_that_never_occurs_scores_nothing():
    data = BeatTensors(np.zeros((2, 1, 8), np.float32), np.eye(5, dtype=np.float32)[[0, 0]], np.array([0, 0]))
    assert engine.validate(Table(), data, nn.CrossEntropyLoss())["val_s_f1"] == 0


def test_probabilities_are_the_softmax_of_the_logits():
    logits = np.log(np.array([[0.5, 0.25, 0.125, 0.0625, 0.0625]], np.float32))
    proba = predict_proba(Table(), np.zeros((1, 1, 8), np.float32), logits)
    np.testing.assert_allclose(proba, [[0.5, 0.25, 0.125, 0.0625, 0.0625]], rtol=1e-6)


def test_prediction_in_pieces_equals_prediction_at_once(monkeypatch):
    net, (windows, features, _) = network(), toy_beats(50, seed=3)
    at_once = predict_proba(net, windows, features)
    monkeypatch.setattr(torch_network, "PREDICT_BATCH", 7)
    np.testing.assert_allclose(predict_proba(net, windows, features), at_once, rtol=1e-5, atol=1e-7)
    assert at_once.shape == (50, 5)


def test_the_bits_of_a_prediction_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(torch_network, "PREDICT_BATCH", 16)
    net, (windows, features, _) = network(), toy_beats(100, seed=3)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(predict_proba(net, windows, features))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_no_beats_give_no_rows():
    assert predict_proba(network(), np.zeros((0, 1, 64), np.float32), np.zeros((0, 3), np.float32)).shape == (0, 5)


# Checkpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    net = network()
    round_to_half(net)
    save_checkpoint(tmp_path / "checkpoint.pt", net, SMALL, DESCRIPTION)
    return tmp_path / "checkpoint.pt"


def test_a_checkpoint_gives_back_the_network_to_the_bit(training, validation, tmp_path):
    net, path = network(), tmp_path / "checkpoint.pt"
    net.features.set_normalisation(training.features)
    fit(net, training, validation, Schedule(epochs=1, learning_rate=0.02, batch_size=32, weight_decay=0))
    round_to_half(net)
    save_checkpoint(path, net, SMALL, DESCRIPTION)
    loaded, description = load_checkpoint(path, [HybridECGNet], mode="causal", classes=CLASSES)
    assert description == DESCRIPTION
    assert not loaded.training
    assert same_bits(copy_of(loaded), copy_of(net))
    beats = toy_beats(20, seed=5)[:2]
    assert np.array_equal(predict_proba(loaded, *beats), predict_proba(net, *beats))


def test_rounding_is_to_the_nearest_half_precision_value():
    """Half precision has 11 significant bits: 2049 lies midway between 2048 and 2050, 1/3 becomes 0x3555."""
    net = nn.Linear(1, 3)
    with torch.no_grad():
        net.bias.copy_(torch.tensor([2049.0, 1 / 3, 0.5]))
    round_to_half(net)
    assert net.bias.dtype == torch.float32
    assert net.bias.tolist() == [2048.0, 1365 / 4096, 0.5]


@pytest.mark.parametrize(
    "expected",
    [
        {"mode": "diagnostic"},
        {"features": ("a", "pre_rr_s", "b")},
        {"classes": ("N", "V", "S", "F", "Q")},
        {"preset": "edge"},
    ],
)
def test_a_checkpoint_made_for_something_else(checkpoint, expected):
    with pytest.raises(DeepECGError, match=next(iter(expected))) as caught:
        load_checkpoint(checkpoint, [HybridECGNet], **expected)
    assert_one_line(caught.value, checkpoint)


def test_a_checkpoint_of_an_unknown_network(checkpoint):
    with pytest.raises(DeepECGError) as caught:
        load_checkpoint(checkpoint, [Table])
    assert_one_line(caught.value, checkpoint)


def test_weights_that_do_not_fit_the_network(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, network(), SMALL | {"hidden": 9}, DESCRIPTION)
    with pytest.raises(DeepECGError) as caught:
        load_checkpoint(path, [HybridECGNet])
    assert_one_line(caught.value, path)


def write_truncated(path: Path):
    save_checkpoint(path, network(), SMALL, DESCRIPTION)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    "write",
    [
        write_truncated,
        lambda path: path.write_text("record 100\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(range(256)) * 8),
        lambda path: torch.save([1, 2, 3], path),
        lambda path: torch.save({"weights": {}}, path),
        lambda path: torch.save({"format": FORMAT}, path),
        lambda path: path.mkdir(),
    ],
    ids="truncated text empty bytes list no-format no-description folder".split(),
)
def test_a_file_that_is_no_checkpoint(tmp_path, write):
    path = tmp_path / "checkpoint.pt"
    write(path)
    with pytest.raises(DeepECGError) as caught:
        load_checkpoint(path, [HybridECGNet], mode="causal")
    assert_one_line(caught.value, path)


def test_a_checkpoint_that_is_missing(tmp_path):
    with pytest.raises(DeepECGError, match="missing") as caught:
        load_checkpoint(tmp_path / "absent.pt", [HybridECGNet])
    assert_one_line(caught.value, tmp_path / "absent.pt")


class Harmful:
    """Unpickled without care, it makes the file `path`."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_code_in_a_checkpoint_is_not_run(tmp_path, write):
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    write({"format": 1, "weights": Harmful(trace)}, path)
    with pytest.raises(DeepECGError) as caught:
        load_checkpoint(path, [HybridECGNet])
    assert_one_line(caught.value, path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert trace.exists()  # the probe does what it is feared for


def assert_one_line(error: DeepECGError, path: Path):
    assert "\n" not in str(error) and str(path) in str(error)


# Rows ----------------------------------------------------------------------------------------------------------------


def test_rows_of_several_arrays_are_read_in_any_order():
    """The first array gives its rows 0 and 2, the second its last: 10, 30, 200."""
    rows = engine.Rows(
        (np.array([[10.0], [20.0], [30.0]]), np.array([0, 2])), (np.array([[100.0], [200.0]]), np.array([1]))
    )
    assert len(rows) == 3
    assert rows[torch.tensor([2, 0, 1, 2])].tolist() == [[200.0], [10.0], [30.0], [200.0]]
    assert rows[torch.tensor([], dtype=torch.int64)].shape == (0, 1)


def test_rows_are_sliced_and_taken_as_an_array_as_a_tensor_is():
    rows = engine.Rows((np.arange(5.0)[:, None], np.array([4, 0, 2])))
    assert rows[1:].tolist() == [[0.0], [2.0]] and rows[:].tolist() == [[4.0], [0.0], [2.0]]
    assert rows[-1:].tolist() == [[2.0]] and rows[2:10].tolist() == [[2.0]]
    np.testing.assert_array_equal(rows, [[4.0], [0.0], [2.0]])


def test_rows_of_an_array_without_any_chosen_are_passed_over():
    rows = engine.Rows((np.array([[1.0]]), np.array([], np.int64)), (np.array([[2.0], [3.0]]), np.array([0, 1])))
    assert len(rows) == 2 and rows[torch.tensor([1, 0])].tolist() == [[3.0], [2.0]]
