"""Settings of Deep-ECG: edit the values below, then run `python main.py`.

Every value is a plain assignment with its reason. The command line (`python main.py --help`) overrides a few of
them for one run; nothing else changes them. Importing this module does nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.settings import check_settings

CLASSES = ("N", "S", "V", "F", "Q")  # AAMI EC57 beat classes, in the order of the network's five outputs
DATA_DIR_VARIABLE = "DEEP_ECG_DATA_DIR"


# The MIT-BIH Arrhythmia Database, divided by patient after de Chazal et al. 2004 (IEEE TBME 51:1196-1206)
DS1 = tuple("101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230".split())
DS2 = tuple("100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234".split())
VALIDATION = ("118", "124", "205", "223")  # DS1 patients with S, V and F; never 201, whose subject is also DS2's 202
AAMI_SYMBOLS = (
    ("N", "N L R B e j n"),  # e, j and n count as N in the literature; the EC57 scorer bxb counts them as S
    ("S", "A a J S"),
    ("V", "V E r"),
    ("F", "F"),
    ("Q", "/ f Q ?"),
)
MODES = ("diagnostic", "causal")
DATA_SOURCES = ("auto", "local", "physionet", "synthetic")
DEVICES = ("auto", "cpu", "cuda")
DATABASES = ("mitdb", "svdb", "cinc2017", "afdb", "vitaldb_arrdb")  # the table is deep_ecg/records/databases.py


@dataclass(frozen=True)
class ModelPreset:
    """Shape of `HybridECGNet` and of its training."""

    channels: tuple[int, int, int]
    kernels: tuple[int, int, int]
    flatten: bool  # True: the flattened feature map joins the pooled features
    feature_hidden: int
    hidden: int
    flatten_dropout: float
    wave_dropout: float  # share of the training beats for which the head sees the features alone
    epochs: int
    open_epochs: int  # of the second training of the open protocol
    learning_rate: float


PRESETS = {
    # About 1.2 million parameters: 4.7 MB in fp32, 1.3 MB in dynamic int8. The flatten head alone overfits the 22
    # patients, so it is regularised by its own dropout and joined by the pooled features.
    "full": ModelPreset(
        channels=(32, 64, 128),
        kernels=(7, 5, 3),
        flatten=True,
        feature_hidden=64,
        hidden=256,
        flatten_dropout=0.9,
        wave_dropout=0.2,
        epochs=4,
        open_epochs=2,
        learning_rate=3e-3,
    ),
    # For microcontrollers: the weights fit 15 KB in int8.
    "edge": ModelPreset(
        channels=(8, 16, 32),
        kernels=(9, 5, 5),
        flatten=False,
        feature_hidden=32,
        hidden=48,
        flatten_dropout=0.0,
        wave_dropout=0.5,
        epochs=8,
        open_epochs=3,
        learning_rate=3e-3,
    ),
}


# Logits are divided by it before the softmax, so that of the beats that get p as probability of their label a share of
# about p is right; no label changes. Fitted by `python -m experiments crossvalidation --temperature` on held-out
# patients of DS1; to be fitted again when anything of the training or of the priors changes.
# A network takes that of its mode and preset into its file when it is trained.
TEMPERATURES = {
    ("diagnostic", "full"): 0.805,
    ("diagnostic", "edge"): 0.941,
    ("causal", "full"): 0.877,
    ("causal", "edge"): 0.982,
}


@dataclass(frozen=True)
class Config:
    """All settings of one run. Raises DeepECGError when a value cannot be used."""

    # What to run -----------------------------------------------------------------------------------------------
    mode: str = "diagnostic"  # "diagnostic": post-RR known, one beat of lag; "causal": nothing after the look-ahead
    preset: str = "full"  # "full" (1.2 M parameters) or "edge" (weights within 15 KB in int8)
    seeds: tuple[int, ...] = (0,)  # one training per seed; results are then mean and sd

    # Where the data come from -----------------------------------------------------------------------------------
    data_source: str = "auto"  # "auto": local folder, else PhysioNet, else SYNTHETIC with a banner
    data_dir: str = "mitdb"  # the environment variable DEEP_ECG_DATA_DIR goes before this value
    physionet_url: str = "https://physionet.org/files/mitdb/1.0.0/"
    synthetic_minutes: float = 4.0  # length of each of the 44 synthetic records

    # What is trained on (docs/databases.md): mitdb alone is the protocol DS1 -> DS2 of published work; with others it
    # is the open protocol, everything but DS2 and the held-out patients of each database, whose tables stay apart
    databases: tuple[str, ...] = ("mitdb",)
    svdb_dir: str = "svdb"  # each goes after an environment variable, such as DEEP_ECG_SVDB_DIR
    cinc2017_dir: str = "cinc2017"
    afdb_dir: str = "afdb"
    vitaldb_arrdb_dir: str = "vitaldb_arrdb"

    # The database (docs/databases.md) --------------------------------------------------------------------------------
    train_records: tuple[str, ...] = DS1  # every choice is made on these alone
    validation_records: tuple[str, ...] = VALIDATION  # some of them: held out of one more training, for its curve
    test_records: tuple[str, ...] = DS2  # of other patients; opened once, when all training has ended
    lead: str = "MLII"  # chosen by name: record 114 carries MLII as its second signal
    other_leads: tuple[str, ...] = ()  # of a record without `lead`, the first of these that it has
    annotation_extension: str = "atr"  # the reference beats of record 100 are in 100.atr
    annotation_classes: tuple[tuple[str, ...], ...] = AAMI_SYMBOLS  # its symbols of beats; all others are no beats

    # Where things go --------------------------------------------------------------------------------------------
    runs_dir: str = "runs"
    cache_dir: str = "cache"

    # Signal processing and features -----------------------------------------------------------------------------
    fs_hz: float = 360.0  # every record is brought to this rate
    band_hz: tuple[float, float] = (0.5, 50.0)  # baseline wander below, mains and muscle noise above
    filter_order: int = 2
    window_samples: int = 280  # 0.78 s; centred on R in diagnostic mode
    look_ahead_ms: float = 150.0  # causal mode only: the window ends this long after R

    # Training ---------------------------------------------------------------------------------------------------
    epochs: int = 0  # of each training; 0: as many as the preset has
    focal_gamma: float = 1.0  # 0 is cross entropy
    replays: int = 6  # of each training record, in other rhythms (deep_ecg/beats/replays.py)
    record_shares: tuple[float, ...] = (0.5, 1.0, 1.0, 1.0, 1.0)  # of the recorded N S V F Q that an epoch shows
    replay_shares: tuple[float, ...] = (0.16, 0.08, 0.12, 0.02, 0.0)  # of the replayed ones; both drawn anew each time
    # The second training of the open protocol goes on from the first, on all databases
    open_replay_shares: tuple[float, ...] = (0.16, 0.16, 0.12, 0.02, 0.0)
    open_rate: float = 0.3  # its learning rate, of that of the first
    open_weight: float = 0.7  # of what it learned, in the mean of the weights before and after it
    batch_size: int = 128
    weight_decay: float = 1e-3
    dropout: float = 0.3
    validation_share: float = 0.5  # of these beats, shown by an epoch of the training without the validation records
    device: str = "auto"  # what trains: "cpu", "cuda" (a GPU), or "auto": a GPU where there is one
    threads: int = 0  # how many processes work side by side, one thread each, 0: one a core; no result depends on it

    # Decision ---------------------------------------------------------------------------------------------------
    s_prior_weight: float = 0.6  # how far the share of S among a patient's latest labels counts for the next (prior.py)
    v_prior_weight: float = 0.5  # how far V of the same shape make the next V likelier; 0 switches either off
    rhythm_weight: float = 1.0  # how far a rhythm that fibrillates makes S less likely; not in reports of DS1 -> DS2
    second_lead: bool = True  # diagnostic `predict` averages what the network makes of two leads, where there are two

    def __post_init__(self):
        choices = {"mode": MODES, "preset": tuple(PRESETS), "data_source": DATA_SOURCES, "device": DEVICES}
        check_settings(self, choices, CLASSES, DATABASES)

    @property
    def protocol(self) -> str:
        """By which protocol networks are trained and tested: see `databases`."""
        return "DS1 -> DS2" if self.databases == ("mitdb",) else "open"

    @property
    def leads(self) -> tuple[str, ...]:
        """Names of leads, the preferred one first."""
        return (self.lead, *self.other_leads)

    @property
    def aami(self) -> dict[str, str]:
        """AAMI class of each annotation symbol of a beat."""
        return classes_of_symbols(self.annotation_classes)

    @property
    def data_folder(self) -> Path:
        """The data folder: the environment variable where it is set and not empty, else `data_dir`."""
        return Path(os.environ.get(DATA_DIR_VARIABLE) or self.data_dir)

    @property
    def model(self) -> ModelPreset:
        """The network preset in use, with the epochs that are set."""
        preset = PRESETS[self.preset]
        return replace(preset, epochs=self.epochs or preset.epochs, open_epochs=self.epochs or preset.open_epochs)

    @property
    def temperature(self) -> float:
        """What calibrates a network of this mode and preset that is trained now: see TEMPERATURES."""
        return TEMPERATURES[self.mode, self.preset]

    @property
    def look_ahead_samples(self) -> int:
        """Samples of the window after R: half the window in diagnostic mode, the look-ahead in causal mode."""
        if self.mode == "diagnostic":
            return self.window_samples // 2
        return round(self.look_ahead_ms * self.fs_hz / 1000)


def classes_of_symbols(annotation_classes: tuple[tuple[str, ...], ...]) -> dict[str, str]:
    """Class of each symbol in pairs such as ("S", "A a J S")."""
    return {symbol: name for name, symbols in annotation_classes for symbol in symbols.split()}


def name_of_test(records: Sequence[str]) -> str:
    """What reports call the records that a network is tested on."""
    return "DS2" if tuple(records) == DS2 else "the test records"


def with_overrides(config: Config, **overrides) -> Config:
    """A copy of `config` in which every override that is not None replaces the setting of that name.

    Raises DeepECGError for a name that is no setting, or a value that cannot be used.
    """
    known = {field.name for field in fields(config)}
    for name in overrides:
        if name not in known:
            raise DeepECGError(f"there is no setting {name!r}: config.py lists them")
    return replace(config, **{name: value for name, value in overrides.items() if value is not None})
