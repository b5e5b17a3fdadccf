"""Training, prediction and checkpoints, for any network that maps (windows, features) to logits."""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import unwrap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from deep_ecg.networks.torch_network import CPU, predict_logits, read_torch_file, write_torch_file
from deep_ecg.scoring.measures import class_metrics, confusion
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.progress import telling
from deep_ecg.training import processes

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


class RowsOnDisk(Protocol):
    """What gives rows (n, ...) by their numbers, as a mapped array does."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""

    @property
    def dtype(self) -> np.dtype:
        """As of an array."""

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The `rows` (n,)."""


class Rows:
    """Chosen rows of arrays, one array after the other, each read when it is asked for: (n, ...), as of a tensor.

    So what lies in a file stays there, however much it is. `parts` are arrays with the rows chosen, (rows,) indices.
    """

    def __init__(self, *parts: tuple[RowsOnDisk, np.ndarray]):
        self._parts, self._ends = parts, np.cumsum([len(rows) for _, rows in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].numpy().astype(dtype or self._parts[0][0].dtype, copy=False)

    def __getitem__(self, wanted: Tensor | slice) -> Tensor:
        index = np.arange(*wanted.indices(len(self))) if isinstance(wanted, slice) else wanted.numpy()
        first = self._parts[0][0]
        gathered = np.empty((len(index), *first.shape[1:]), first.dtype)
        part = np.searchsorted(self._ends, index, side="right")
        for number, (array, rows) in enumerate(self._parts):
            here = part == number
            gathered[here] = array[rows[index[here] - self._ends[number] + len(rows)]]
        return torch.from_numpy(gathered)


class BeatTensors:
    """Windows (n, channels, samples), features (n, count) and labels (n,): Rows, or tensors on the arrays' own memory.

    strata (n,) says by whose share of `Schedule.shares` a beat is shown in training; the label where it is not given.
    """

    def __init__(
        self,
        windows: np.ndarray | Rows,
        features: np.ndarray | Rows,
        labels: np.ndarray | Rows,
        strata: np.ndarray | None = None,
    ):
        self.windows, self.features, self.labels = map(_as_tensor, (windows, features, labels))
        self.strata = torch.from_numpy(np.asarray(labels) if strata is None else strata)


def _as_tensor(rows: np.ndarray | Rows) -> Tensor | Rows:
    return rows if isinstance(rows, Rows) else torch.from_numpy(rows)


def seed_everything(seed: int, device: torch.device = CPU):
    """Seeds Python, NumPy and torch, asks for deterministic algorithms and for TRAINING_THREADS threads.

    The same seed and machine then give the same bits, but on a GPU: it has no such algorithm for each step.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_deterministic_debug_mode("error" if device == CPU else "default")  # loads no compiler, as others do
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs 6 % of a training; nothing reads such memory
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
    tell: Callable[[str], None] = lambda line: None,
    on_epoch: Callable[[dict], None] | None = None,
    device: torch.device = CPU,
) -> History:
    """Trains `model` in place for all epochs of `schedule` and leaves the averaged weights in it.

    The beats stay in the memory of the processor, to which the model returns; the arithmetic is done by the `device`.

    `validation` is scored after each epoch where it is given; nothing is chosen by it. Within an epoch `tell` gets a
    line every few seconds, after it `on_epoch` its entry of the history. With `state_path`, everything needed to go on
    is written there after each epoch, and a state with the same `fingerprint` found there is gone on from: the result
    is the same to the bit as without the interruption. The state is removed by the caller when its results are safe.
    """
    run = _Run(model.to(device), train, schedule, seed, device)
    loss_function = loss_function.to(device)
    if state_path is not None:
        run.restore(state_path, fingerprint)
    while run.epoch < schedule.epochs:
        entry = run.train_epoch(train, loss_function, tell)
        if validation is not None:
            entry |= validate(run.averaged, validation, loss_function, device)
        run.finish_epoch(entry)
        if state_path is not None:
            run.store(state_path, fingerprint)
        if on_epoch is not None:
            on_epoch(entry)
    model.load_state_dict(run.averaged.state_dict())
    model.to(CPU)
    return run.history


def validate(model: nn.Module, data: BeatTensors, loss_function: nn.Module, device: torch.device = CPU) -> dict:
    """Loss, accuracy, S F1 and V F1 of `model`, on the `device`, as val_loss, val_accuracy, val_s_f1, val_v_f1."""
    logits, labels = predict_logits(model, data.windows, data.features, device), data.labels[:]
    matrix = confusion(labels.numpy(), logits.argmax(dim=1).numpy())
    scores = class_metrics(matrix)
    return {
        "val_loss": float(loss_function(logits.to(device), labels.to(device))),
        "val_accuracy": float(np.trace(matrix) / matrix.sum()),
        "val_s_f1": scores["S"]["f1"] or 0.0,
        "val_v_f1": scores["V"]["f1"] or 0.0,
    }


class _AdamW(torch.optim.AdamW):
    """AdamW without what torch wraps its methods in for torch.compile: that is loaded by it, for seconds and memory."""

    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = unwrap(torch.optim.AdamW.zero_grad)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class _Run:
    """The state of one training: all that a resumed one needs."""

    def __init__(self, model: nn.Module, train: BeatTensors, schedule: Schedule, seed: int, device: torch.device = CPU):
        self.model, self.schedule, self.device = model, schedule, device
        self.shared = processes.joined(model, seed)
        self.averaged = copy.deepcopy(model)
        self.generator = torch.Generator().manual_seed(processes.own_seed(seed))
        self.strata = [torch.nonzero(train.strata == stratum)[:, 0] for stratum in range(int(train.strata.max()) + 1)]
        shares = schedule.shares or (1.0,) * len(self.strata)
        self.counts = [round(len(members) * share) for members, share in zip(self.strata, shares)]
        beats = sum(processes.gathered(sum(self.counts)))
        self.batches = beats // schedule.batch_size
        if self.batches == 0:
            raise DeepECGError(f"setting batch_size = {schedule.batch_size} is more than the {beats} training beats")
        self.own_batch = processes.part_of(schedule.batch_size)
        self.optimizer = _AdamW(
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

    def train_epoch(self, train: BeatTensors, loss_function: nn.Module, tell: Callable[[str], None]) -> dict:
        self.model.train()
        order = self._order()
        total = 0.0

        def tell_share(done: int):
            tell(f"epoch {self.epoch + 1} of {self.schedule.epochs}, {100 * done // self.batches} %")

        for batch in telling(range(self.batches), tell_share):
            index = order[batch * self.own_batch : (batch + 1) * self.own_batch]
            beats = train.windows[index], train.features[index], train.labels[index]
            windows, features, labels = (part.to(self.device) for part in beats)
            loss = loss_function(self.shared(windows, features), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            self._average(self.epoch * self.batches + batch)
            total += float(loss.detach())
        losses = processes.gathered(total / self.batches)
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
        processes.average_buffers(self.model, self.averaged)

    def store(self, path: Path, fingerprint: str):
        state = {
            "fingerprint": fingerprint,
            "epoch": self.epoch,
            "history": vars(self.history),
            "random": processes.gathered([self._dropout_state(), self.generator.get_state()]),
            **{name: getattr(self, name).state_dict() for name in _STATEFUL},
        }
        if processes.is_first():
            write_torch_file(path, state)

    def _dropout_state(self) -> Tensor:
        return torch.get_rng_state() if self.device == CPU else torch.cuda.get_rng_state()

    def restore(self, path: Path, fingerprint: str):
        own = read_torch_file(path, "delete it") if processes.is_first() and path.exists() else None
        state: Any = processes.from_first(own)
        if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
            return
        try:
            for name in _STATEFUL:
                getattr(self, name).load_state_dict(state[name])
            dropout, order = state["random"][processes.rank()]
            torch.set_rng_state(dropout) if self.device == CPU else torch.cuda.set_rng_state(dropout)
            self.generator.set_state(order)
            self.history = History(**state["history"])
            self.epoch = state["epoch"]
        except Exception as error:  # load_state_dict raises whatever it stumbles over
            raise DeepECGError(f"{path} cannot be gone on from ({type(error).__name__}): delete it") from None
_STATEFUL = ("model", "averaged", "optimizer", "scheduler")
