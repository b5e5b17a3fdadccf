"""Training, prediction and checkpoints, for any network that maps (windows, features) to logits."""

import copy
import io
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from tqdm import tqdm

import distributed
import guard
from config import DeepECGError, check_made_for
from files import atomic_file

PREDICT_BATCH = 256  # what stays in the processor's cache
BATCHES_WORTH_A_BAR = 50
CHECKPOINT_FORMAT = 1
TRAINING_THREADS = 1  # two trainings side by side, one thread each, take less time than one after the other with two


@dataclass(frozen=True)
class Schedule:
    """How to train: passes over the data, peak learning rate of the one-cycle schedule, and the rest of AdamW."""

    epochs: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    shares: tuple[float, ...] = ()  # share of the beats of each stratum, drawn anew, that an epoch shows; (): all
    averaging: float = 0.99  # decay of the running average of the weights, which is what is evaluated and kept


@dataclass
class History:
    """One entry an epoch."""

    epochs: list[dict] = field(default_factory=list)


class Rows:
    """Chosen rows of arrays, one array after the other, each read when it is asked for: (n, ...), as of a tensor.

    So what lies in a file stays there, however much it is. `parts` are arrays with the rows chosen, (rows,) indices.
    """

    def __init__(self, *parts: tuple[np.ndarray, np.ndarray]):
        self._parts, self._ends = parts, np.cumsum([len(rows) for _, rows in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Tensor) -> Tensor:
        index, first = index.numpy(), self._parts[0][0]
        gathered = np.empty((len(index), *first.shape[1:]), first.dtype)
        part = np.searchsorted(self._ends, index, side="right")
        for number, (array, rows) in enumerate(self._parts):
            here = part == number
            gathered[here] = array[rows[index[here] - self._ends[number] + len(rows)]]
        return torch.from_numpy(gathered)


class BeatTensors:
    """Windows (n, channels, samples), features (n, count) and labels (n,) as tensors on the arrays' own memory.

    strata (n,) says by whose share of `Schedule.shares` a beat is shown in training; the label where it is not given.
    """

    def __init__(
        self, windows: np.ndarray | Rows, features: np.ndarray, labels: np.ndarray, strata: np.ndarray | None = None
    ):
        self.windows = windows if isinstance(windows, Rows) else torch.from_numpy(windows)
        self.features = torch.from_numpy(features)
        self.labels = torch.from_numpy(labels)
        self.strata = self.labels if strata is None else torch.from_numpy(strata)


def seed_everything(seed: int):
    """Seeds Python, NumPy and torch, asks for deterministic algorithms and for TRAINING_THREADS threads.

    The same seed and machine then give the same bits.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs 6 % of a training; nothing reads such memory
    torch.set_num_threads(TRAINING_THREADS)


def fit(
    model: nn.Module,
    train: BeatTensors,
    validation: BeatTensors | None,
    loss_function: nn.Module,
    schedule: Schedule,
    seed: int,
    state_path: Path | None = None,
    fingerprint: str = "",
    progress: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
) -> History:
    """Trains `model` in place for all epochs of `schedule` and leaves the averaged weights in it.

    `validation` is scored after each epoch where it is given; nothing is chosen by it. With `state_path`, everything
    needed to go on is written there after each epoch, and a state with the same `fingerprint` found there is gone on
    from: the result is the same to the bit as without the interruption. The state is removed by the caller when its
    results are safe.
    """
    run = _Run(model, train, schedule, seed)
    if state_path is not None:
        run.restore(state_path, fingerprint)
    while run.epoch < schedule.epochs:
        entry = run.train_epoch(train, loss_function, progress)
        if validation is not None:
            entry |= validate(run.averaged, validation, loss_function)
        run.finish_epoch(entry)
        if state_path is not None:
            run.store(state_path, fingerprint)
        if on_epoch is not None:
            on_epoch(entry)
    model.load_state_dict(run.averaged.state_dict())
    return run.history


def validate(model: nn.Module, data: BeatTensors, loss_function: nn.Module) -> dict:
    """Loss, accuracy, S F1 and V F1 of `model` on `data` as val_loss, val_accuracy, val_s_f1, val_v_f1."""
    logits = predict_logits(model, data.windows, data.features)
    predicted = logits.argmax(dim=1).numpy()
    f1 = f1_score(data.labels.numpy(), predicted, labels=[1, 2], average=None, zero_division=0)
    return {
        "val_loss": float(loss_function(logits, data.labels)),
        "val_accuracy": float((predicted == data.labels.numpy()).mean()),
        "val_s_f1": float(f1[0]),
        "val_v_f1": float(f1[1]),
    }


class _Run:
    """The state of one training: all that a resumed one needs."""

    def __init__(self, model: nn.Module, train: BeatTensors, schedule: Schedule, seed: int):
        self.model, self.schedule = model, schedule
        self.shared = distributed.joined(model, seed)
        self.averaged = copy.deepcopy(model)
        self.generator = torch.Generator().manual_seed(distributed.own_seed(seed))
        self.strata = [torch.nonzero(train.strata == stratum)[:, 0] for stratum in range(int(train.strata.max()) + 1)]
        shares = schedule.shares or (1.0,) * len(self.strata)
        self.counts = [round(len(members) * share) for members, share in zip(self.strata, shares)]
        beats = sum(distributed.gathered(sum(self.counts)))
        self.batches = beats // schedule.batch_size
        if self.batches == 0:
            raise DeepECGError(f"setting batch_size = {schedule.batch_size} is more than the {beats} training beats")
        self.own_batch = distributed.part_of(schedule.batch_size)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, schedule.learning_rate, total_steps=self.batches * schedule.epochs
        )
        self.history, self.epoch = History(), 0

    def _order(self) -> Tensor:
        """Beats of one epoch in random order: of each stratum as many as its share asks for, in whole batches.

        Where others train too, and this process has fewer beats than they, some are shown twice.
        """
        chosen = [members[self._permutation(len(members))[:count]] for members, count in zip(self.strata, self.counts)]
        order = torch.cat(chosen)
        order = order[self._permutation(len(order))]
        return order[torch.arange(self.batches * self.own_batch) % len(order)]

    def _permutation(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator)

    def train_epoch(self, train: BeatTensors, loss_function: nn.Module, progress: bool) -> dict:
        self.model.train()
        order = self._order()
        total = 0.0
        title = f"epoch {self.epoch + 1}/{self.schedule.epochs}"
        for batch in tqdm(range(self.batches), title, unit="batch", disable=None if progress else True, leave=False):
            index = order[batch * self.own_batch : (batch + 1) * self.own_batch]
            loss = loss_function(self.shared(train.windows[index], train.features[index]), train.labels[index])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            self._average(self.epoch * self.batches + batch)
            total += float(loss.detach())
        losses = distributed.gathered(total / self.batches)
        return {"epoch": self.epoch + 1, "train_loss": sum(losses) / len(losses)}

    @torch.no_grad()
    def _average(self, steps: int):
        """Adds the weights to their exponential mean over `steps` steps before, statistics of BatchNorm included.

        Its memory grows to that of `Schedule.averaging`, so that the start is soon forgotten.
        """
        decay = min(self.schedule.averaging, (1 + steps) / (10 + steps)) if steps else 0.0
        for mean, value in zip(self.averaged.state_dict().values(), self.model.state_dict().values()):
            mean.lerp_(value, 1 - decay) if value.is_floating_point() else mean.copy_(value)

    def finish_epoch(self, entry: dict):
        self.epoch += 1
        self.history.epochs.append(entry)
        distributed.average_buffers(self.model, self.averaged)

    def store(self, path: Path, fingerprint: str):
        state = {
            "fingerprint": fingerprint,
            "epoch": self.epoch,
            "history": vars(self.history),
            "random": distributed.gathered([torch.get_rng_state(), self.generator.get_state()]),
            **{name: getattr(self, name).state_dict() for name in _STATEFUL},
        }
        if distributed.is_first():
            write_torch_file(path, state)

    def restore(self, path: Path, fingerprint: str):
        state = read_torch_file(path) if distributed.is_first() and path.exists() else None
        state = distributed.from_first(state)
        if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
            return
        try:
            for name in _STATEFUL:
                getattr(self, name).load_state_dict(state[name])
            dropout, order = state["random"][distributed.rank()]
            torch.set_rng_state(dropout)
            self.generator.set_state(order)
            self.history = History(**state["history"])
            self.epoch = state["epoch"]
        except Exception as error:  # load_state_dict raises whatever it stumbles over
            raise DeepECGError(f"{path} cannot be gone on from ({type(error).__name__}): delete it") from None


_STATEFUL = ("model", "averaged", "optimizer", "scheduler")


def predict_logits(model: nn.Module, windows: Tensor, features: Tensor) -> Tensor:
    """Logits (n, classes) of windows (n, channels, samples) and features (n, count), in evaluation mode.

    Batches are shared among torch's threads, one each, so that the bits do not depend on how many there are.
    """
    if model.training:
        model.eval()
    if len(windows) <= PREDICT_BATCH:
        with _single_threaded(), torch.inference_mode():
            return model(windows, features)
    run = torch.inference_mode()(model)
    batches = windows.split(PREDICT_BATCH), features.split(PREDICT_BATCH)
    count = len(batches[0])
    silent = True if count < BATCHES_WORTH_A_BAR else None  # None: silent unless at a terminal
    with _single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        done = tqdm(pool.map(run, *batches), "predict", count, unit="batch", disable=silent, leave=False)
        return torch.cat(list(done))


@contextmanager
def _single_threaded() -> Iterator[int]:
    """One thread for each of torch's operations while the block lasts; gives the number that it has otherwise."""
    threads = torch.get_num_threads()
    if threads == 1:  # nothing to change, which takes its time
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def predict_proba(model: nn.Module, windows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Class probabilities (n, classes) of windows (n, channels, samples) and features (n, count).

    Raises DeepECGError where they are no numbers, which would pass for N beats.
    """
    proba = predict_logits(model, torch.from_numpy(windows), torch.from_numpy(features)).softmax(dim=1).numpy()
    if not np.isfinite(proba).all():
        raise DeepECGError("the network answers with values that are no numbers: its checkpoint or its input is broken")
    return proba


def round_to_half(model: nn.Module):
    """Rounds every weight and statistic of `model` in place to the nearest half-precision value.

    A checkpoint then takes half the room and still holds the network exactly as it is evaluated.
    """
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())


def save_checkpoint(path: Path, model: nn.Module, arguments: dict, description: dict):
    """Writes `model` (rounded by `round_to_half`), the `arguments` of its constructor and a `description` of its use.

    The description names mode, preset, classes and features in order, data source, seed and settings.
    """
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    checkpoint = {
        "format": CHECKPOINT_FORMAT,
        "network": type(model).__name__,
        "arguments": arguments,
        "description": description,
        "weights": weights,
    }
    write_torch_file(path, checkpoint)


def write_torch_file(path: Path, value: object):
    """Writes `value` as `torch.save` does, whole or not at all; its bytes depend on nothing but `value`.

    By way of memory: torch's own writing of files says of a full disk neither which file nor why.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, networks: Sequence[type[nn.Module]], **expected) -> tuple[nn.Module, dict]:
    """The network stored at `path`, in evaluation mode, and its description.

    `networks` are the classes that may be built; `expected` are entries that the description must hold (mode,
    classes, features). Raises DeepECGError when the file is missing, broken, or made for something else.
    """
    checkpoint = read_torch_file(path)
    description = checkpoint.get("description") if isinstance(checkpoint, dict) else None
    plain = isinstance(description, dict) and _is_plain(description) and isinstance(checkpoint.get("format"), int)
    if not plain or checkpoint.get("format") != CHECKPOINT_FORMAT:
        raise DeepECGError(f"checkpoint {path} is not of this version of Deep-ECG: train again with `python main.py`")
    check_made_for(path, description, **expected)
    known = {network.__name__: network for network in networks}
    try:
        network, arguments = known[checkpoint["network"]], checkpoint["arguments"]
        with torch.device("meta"):  # takes no memory, whatever the arguments say
            _check_weights(checkpoint["weights"], network(**arguments).state_dict(), path.stat().st_size)
        model = network(**arguments)
        model.load_state_dict(checkpoint["weights"])
    except Exception as error:  # constructors raise whatever they stumble over
        kind = type(error).__name__
        raise DeepECGError(f"checkpoint {path} does not fit its network ({kind}): train it again") from None
    return model.eval(), description


def _is_plain(value: object, depth: int = 6) -> bool:
    """Whether `value` is made of texts, numbers, lists and dicts, few enough to be compared and printed."""
    if isinstance(value, dict | list | tuple):
        items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return depth > 0 and len(items) <= 400 and all(_is_plain(item, depth - 1) for item in items)
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 10_000)


def _check_weights(weights: dict[str, Tensor], network: dict[str, Tensor], file_bytes: int):
    """ValueError unless `weights` are finite numbers in the names and shapes of `network`, as large as their file."""
    if {name: value.shape for name, value in weights.items()} != {name: v.shape for name, v in network.items()}:
        raise ValueError("other names or shapes")
    if sum(value.numel() * value.element_size() for value in weights.values()) > file_bytes:
        raise ValueError("more weights than the file can hold")
    for name, value in weights.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise ValueError("weights of an unknown kind")
        if value.is_floating_point() != network[name].is_floating_point() or not value.isfinite().all():
            raise ValueError("weights that are no numbers")


def read_torch_file(path: Path) -> dict:
    """What `torch.save` wrote at `path`, loading tensors and plain values only.

    Raises DeepECGError when it is missing or is no such file.
    """
    try:
        guard.check_stored(path)
        return torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise DeepECGError(f"checkpoint {path} is missing: train one with `python main.py`") from None
    except Exception as error:  # torch raises whatever its unpickler stumbles over
        raise DeepECGError(f"{path} is not a checkpoint that can be read ({type(error).__name__}): delete it") from None
