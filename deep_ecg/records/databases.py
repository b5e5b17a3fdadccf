"""The databases that this project knows: where each is published, what its labels mean, who is never trained on.

`held_out` are every third record by sorted name, for good: a network that ships has not seen them. Records that a
database has besides are neither trained on nor tested on here.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config import AAMI_SYMBOLS, DATA_DIR_VARIABLE, DS1, DS2, Config, with_overrides
from deep_ecg.records import physionet
from deep_ecg.system.errors import DeepECGError

# What its labels are of: every beat; whole records, whose beats are then found by the detector; every beat, without a
# signal; the rhythm alone
BEATS, RECORDS, INTERVALS, RHYTHM = "beats", "records", "intervals", "rhythm"

SVDB = (
    "801 802 804 805 809 811 821 823 825 827 829 841 845 846 850 851 854 857 860 861 865 867 870 871 874 875 877 "
    "878 881 883 886 887 889 890 894"
)
SVDB_HELD_OUT = (
    "803 808 820 824 828 842 847 852 859 863 868 873 876 879 885 888 891"
)
AFDB = (
    "00735 03665 04048 04126 04936 05091 05261 06453 07162 07859 08215 08219 08434 08455"
)
AFDB_HELD_OUT = (
    "04043 04746 05121 06995 07910 08378"
)
VITALDB = (
    "1001 1002 103 1072 110 1110 1127 1145 1191 12 1276 1293 1317 1350 1377 1398 1415 1420 1484 1523 1605 1607 1626 "
    "1632 1699 1714 1738 1755 1798 1800 1813 1828 19 1901 1915 1959 2008 2016 2042 2058 208 2103 2149 2161 2213 "
    "2218 2246 2283 2305 2306 2348 2381 2399 2400 2432 2447 2489 2495 253 2556 2585 2588 2611 2634 2668 2686 2717 "
    "2735 2775 2778 2827 2844 2852 2863 2891 2907 2928 2932 2948 3009 3077 3098 3129 3136 3164 3167 3188 3216 3271 "
    "3299 3328 3331 3361 3366 3398 3421 3434 3449 3481 3514 3519 3524 3545 3571 3620 3623 3648 3666 371 3784 3828 "
    "387 3878 388 3948 3980 4016 4024 4066 4076 4109 4116 4136 4158 42 4205 4245 4261 4297 4326 4383 4402 4415 4441 "
    "447 4496 4510 4539 4578 4589 4636 4639 4666 472 4745 4769 4800 4833 4887 4899 4925 4932 4962 4987 5034 5057 "
    "5084 5104 5115 5155 5169 5183 5217 5227 5262 5279 5362 539 5393 5404 5428 5449 5474 5484 5501 5585 5637 565 "
    "569 5697 5741 5743 581 584 5862 5863 5873 5902 5982 5983 6012 6043 6085 6088 6154 6180 6198 6227 6255 6299 "
    "6326 634 6355 6374 661 672 713 753 816 846 864 916 964 965 985"
)
VITALDB_HELD_OUT = (
    "1023 1083 1121 1157 1269 13 1375 1404 1481 158 1623 166 1733 1776 1810 1835 1914 1994 2040 2067 2130 2191 2231 "
    "2296 2345 2387 2428 2453 251 2558 2601 2651 2699 2762 2810 2847 2878 2916 2947 3020 3125 3146 3187 3250 3323 "
    "3340 3372 3426 347 3517 3535 3584 3631 3669 382 3876 3930 4010 4034 4092 4131 4179 4238 4279 4364 4405 4461 "
    "4504 4577 4599 4649 4731 4798 484 4905 4940 4998 5065 5111 5156 521 5235 5302 5391 5416 5459 5493 5604 5673 "
    "5704 5806 5844 5866 5938 6010 6069 6128 6182 6254 6309 6354 643 708 758 862 939 984"
)


@dataclass(frozen=True)
class Database:
    """A published database. `train` and `held_out` are names of records, as results call them.

    `published` are the paths of the files of a record at `url`; locally they may also lie all beside one another.
    `labels_file` says a label of each record; as `labels_copy` it may lie in a local folder too. In records of the
    labels `all_n` every beat is N. `leads` stand in order of preference, none where there is no signal. `shares` of
    the N S V F Q beats are shown in an epoch. `hashed` says whether a list of hashes is published, `entries_sha256` is
    the digest of its entries for these files where it is known (`physionet.hashes_digest`).
    """

    name: str
    title: str
    url: str
    teaches: str
    labels: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    published: tuple[str, ...]
    rate_hz: float | None
    leads: tuple[str, ...] = ()
    beats: str = "atr"
    annotation_classes: tuple[tuple[str, ...], ...] = AAMI_SYMBOLS
    shares: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    all_n: tuple[str, ...] = ()
    labels_file: str = ""
    labels_copy: str = ""
    hashed: bool = True
    entries_sha256: str | None = None

    @property
    def variable(self) -> str:
        """The environment variable that names its folder; it goes before the setting NAME_dir."""
        return DATA_DIR_VARIABLE if self.name == "mitdb" else f"DEEP_ECG_{self.name.upper()}_DIR"

    def folder(self, config: Config) -> Path:
        """Its local folder."""
        if self.name == "mitdb":
            return config.data_folder
        return Path(os.environ.get(self.variable) or getattr(config, f"{self.name}_dir"))

    def config(self, config: Config) -> Config:
        """The settings `config` with the leads, the extension and the symbols of its beats."""
        lead, *others = self.leads
        classes = self.annotation_classes
        return with_overrides(
            config, lead=lead, other_leads=tuple(others), annotation_extension=self.beats, annotation_classes=classes
        )

    def files(self, records: Sequence[str]) -> list[str]:
        """Every file of `records`, as published."""
        names = [path.format(name=name) for name in records for path in self.published]
        return [self.labels_file] * bool(self.labels_file) + names

    def path(self, folder: Path, record: str) -> str:
        """The path of `record` in its local `folder`, without extension."""
        published = PurePosixPath(self.published[0].format(name=record))
        flat = not (folder / published).exists()
        return str((PurePosixPath(published.name) if flat else published).with_suffix(""))

    def local_files(self, folder: Path, records: Sequence[str]) -> list[str]:
        """`files` of `records`, each where it is in `folder`: as published, or without subfolders."""
        files = [file if (folder / file).exists() else PurePosixPath(file).name for file in self.files(records)]
        if self.labels_copy and not (folder / files[0]).exists():
            files[0] = self.labels_copy
        return files

    def labels_of_records(self, folder: Path) -> dict[str, str]:
        """The label of each record, where one a record is said. Raises DeepECGError where it cannot be read."""
        path = folder / self.local_files(folder, ())[0]
        try:
            lines = path.read_text(encoding="utf-8").split()
            return dict(line.split(",") for line in lines)
        except (OSError, ValueError) as error:
            raise DeepECGError(f"{path} cannot be read as lines of RECORD,LABEL ({error}): fetch it again") from None


def _cinc2017() -> dict[str, tuple[str, ...]]:
    """The records of the CinC 2017 training set, `train` and `held_out`, from the list beside this file."""
    lines = Path(__file__).with_name("cinc2017.txt").read_text(encoding="utf-8").splitlines()
    names: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if line.endswith(":"):
            latest = line[:-1]
            names[latest] = ()
        elif not line.startswith("#"):
            names[latest] += tuple(f"A{int(number):05}" for number in line.split())
    return names


DATABASES = {
    database.name: database
    for database in (
        Database(
            name="mitdb",
            title="MIT-BIH Arrhythmia Database 1.0.0 (Moody and Mark 2001)",
            url=Config.physionet_url,
            teaches=BEATS,
            labels="every beat; rhythm by + marks",
            train=DS1,
            held_out=DS2,
            published=("{name}.hea", "{name}.dat", "{name}.atr"),
            rate_hz=360,
            leads=("MLII",),
        ),
        Database(
            name="svdb",
            title="MIT-BIH Supraventricular Arrhythmia Database 1.0.0 (Greenwald 1990)",
            url="https://physionet.org/files/svdb/1.0.0/",
            teaches=BEATS,
            labels="every beat; no F, and S is written S",
            train=tuple(SVDB.split()),
            held_out=tuple(SVDB_HELD_OUT.split()),
            published=("{name}.hea", "{name}.dat", "{name}.atr"),
            rate_hz=128,
            leads=("ECG1", "ECG2"),
            shares=(0.25, 1.0, 1.0, 1.0, 1.0),
            entries_sha256="48f88f1f1af88594519295171e6202c8a2af4c20eb89f1d902e960e9f7833d49",
        ),
        Database(
            name="cinc2017",
            title="PhysioNet/CinC Challenge 2017, training set 1.0.0 (Clifford et al. 2017)",
            url="https://physionet.org/files/challenge-2017/1.0.0/",
            teaches=RECORDS,
            labels="one rhythm a record: N sinus, A fibrillation (in both, every beat is N), O other, ~ too noisy",
            train=_cinc2017()["train"],
            held_out=_cinc2017()["held_out"],
            published=("training/{name:.3}/{name}.hea", "training/{name:.3}/{name}.mat"),
            rate_hz=300,
            leads=("ECG",),
            shares=(0.3, 0.0, 0.0, 0.0, 0.0),
            all_n=("N", "A"),
            labels_file="REFERENCE-v3.csv",
            labels_copy="REFERENCE.csv",
        ),
        Database(
            name="afdb",
            title="MIT-BIH Atrial Fibrillation Database 1.0.0 (Moody and Mark 1983)",
            url="https://physionet.org/files/afdb/1.0.0/",
            teaches=RHYTHM,
            labels="rhythm; beats found by a machine, all of one class",
            train=tuple(AFDB.split()),
            held_out=tuple(AFDB_HELD_OUT.split()),
            published=("{name}.hea", "{name}.qrs", "{name}.atr"),
            rate_hz=250,
            beats="qrs",
        ),
        Database(
            name="vitaldb_arrdb",
            title="VitalDB Arrhythmia Database",
            url=(
                "https://raw.githubusercontent.com/vitaldb/arrdb/9646147f5e1870965d9390037b279f7e401b35e1/"
                "LabelFile/Annotation_Files_250907/"
            ),
            teaches=INTERVALS,
            labels="rhythm and class of every beat, without a signal; conducted beats of fibrillation are written S",
            train=tuple(VITALDB.split()),
            held_out=tuple(VITALDB_HELD_OUT.split()),
            published=("Annotation_file_{name}.csv",),
            rate_hz=None,
            hashed=False,
        ),
    )
}


def known(name: str) -> Database:
    """The database called `name`. Raises DeepECGError where it is none of DATABASES."""
    if name not in DATABASES:
        raise DeepECGError(f"database {name!r} is unknown: use one of {', '.join(DATABASES)}")
    return DATABASES[name]


def classifying(names: Sequence[str]) -> list[Database]:
    """Those of the databases called `names` whose labels tell classes of beats."""
    return [database for database in map(known, names) if database.teaches != RHYTHM]


def fetched(database: Database, config: Config, records: Sequence[str] = (), progress: bool = False) -> Path:
    """The local folder of `database` with every file of `records`, by default all that it lists.

    Where a file is missing, what is published is downloaded, unless `config.data_source` is "local". Raises
    DeepECGError where that fails, a file differs from its published hash, or the database is to be synthetic: only
    mitdb has a stand-in.
    """
    folder, records = database.folder(config), tuple(records) or database.train + database.held_out
    missing = physionet.missing_files(folder, database.local_files(folder, records))
    if not missing:
        return folder
    told = f"data folder {folder} of {database.name}: {len(missing)} files are missing, the first is {missing[0]}"
    if config.data_source in ("local", "synthetic"):
        raise DeepECGError(f"{told}: point {database.variable} at the database, or set data_source to 'physionet'")
    physionet.download_files(
        folder,
        database.url,
        database.files(records),
        title=database.name,
        variable=database.variable,
        progress=progress,
        hashed=database.hashed,
        sums_sha256=database.entries_sha256,
        pinned=database.files(database.train + database.held_out),
    )
    return folder
