"""`python main.py score`: annotation files compared beat by beat and episode by episode, as ANSI/AAMI EC57 asks.

The counts are those of the standard's reference implementation, `bxb` and `sumstats` of the WFDB Software Package,
whose rules are described in G. B. Moody, "Evaluating ECG Analyzers" (WFDB Applications Guide), and its manual page.
Unlike the rest of this project, EC57 counts escape beats (e, j, n) as S.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from deep_ecg.records.formats import TextSettings, is_alone, open_any
from deep_ecg.records.leads import candidates
from deep_ecg.records.wfdb_files import RecordFile, parse_header, read_annotations, to_rate
from deep_ecg.scoring import episodes
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import write_json
from deep_ecg.system.text import SYNTHETIC_LINE, number

WINDOW_S = 0.15  # beats of the two files within this time of one another can be the same beat
LEARNING_S = 300.0  # the learning period at the start of each record, which is not scored
OUTSIDE_S = 10.0  # an algorithm may run on padding after the last sample, but not for longer

# A flutter wave that no [ ] encloses takes part in the pairing, but is no beat: what is paired with it is unmatched.
CLASS_OF = {
    **dict.fromkeys("NLRB", "N"),
    **dict.fromkeys("aAJSejn", "S"),
    **dict.fromkeys("VrE", "V"),
    "F": "F",
    **dict.fromkeys("Q/f?", "Q"),
    "!": "O",
}
UNREADABLE_BITS = 0x30  # of the subtype of a signal quality mark (~): neither signal can be read from here on

ROWS = "NSVFQOX"  # reference: O, X: no beat there, for X because the reference calls the signal unreadable
COLUMNS = "nsvfqox"  # test: o, x: beat not found, for x because the test file says that analysis was shut down
UNMATCHED = ROWS.index("O")
N, S, V, F = (ROWS.index(name) for name in "NSVF")
MEASURES = ("qrs_se", "qrs_ppv", "veb_se", "veb_ppv", "sveb_se", "sveb_ppv")
FAR = 2**62  # a sample that no record reaches: where a file has no further beat


# Annotation files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marks:
    """What EC57 looks at in one annotation file; times in samples at the record's rate.

    samples (beats,) and classes (beats,), letters of ROWS; shutdowns and flutters are stretches (start, end), both
    ends within, an end that the file does not mark being FAR; rhythms are where each begins, and its name.
    """

    samples: list[int] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    shutdowns: list[tuple[int, int]] = field(default_factory=list)
    flutters: list[tuple[int, int]] = field(default_factory=list)
    rhythms: list[tuple[int, str]] = field(default_factory=list)
    synthetic: bool = False

    def intervals(self) -> list[int]:
        """The RR interval that ends at each beat, in samples; 0 where there is none.

        There is none at the first beat, nor where unreadable signal or flutter begins between the two beats.
        """
        rr = np.diff(self.samples, prepend=self.samples[:1])
        starts = [start for start, _ in self.shutdowns + self.flutters]
        broken = np.searchsorted(self.samples, starts, side="right")
        rr[broken[broken < len(rr)]] = 0
        return rr.tolist()


def within(sample: int, stretches: Sequence[tuple[int, int]]) -> bool:
    """Whether `sample` lies in one of the stretches, which are those of `disjoint`."""
    place = bisect_right(stretches, sample, key=lambda stretch: stretch[0])
    return place > 0 and sample <= stretches[place - 1][1]


def disjoint(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same samples in rising stretches that do not overlap, so that one of a million is soon found."""
    parts: list[tuple[int, int]] = []
    for start, end in sorted(one for one in stretches if one[0] <= one[1]):
        if parts and start <= parts[-1][1]:
            start, end = parts[-1][0], max(end, parts.pop()[1])
        parts.append((start, end))
    return parts


def parse_marks(samples: Sequence[int], symbols: Sequence[str], subtypes: Sequence[int], window: int) -> Marks:
    """Beats, shutdowns and flutter of a list of annotations in the order of time, each given as (annotations,).

    Everything between [ and ] is passed over. A mark of unreadable signal ends at the mark of readable signal that
    follows it; where another annotation follows it, it is a lone mark of the AHA kind, which stands for the time
    from a match window after the last beat or flutter to a match window before that annotation, if there is any.
    """
    marks = Marks()
    position = 0
    while position < len(samples):
        sample, symbol = samples[position], symbols[position]
        if symbol == "[":
            end = next((k for k in range(position + 1, len(samples)) if symbols[k] == "]"), None)
            marks.flutters.append((sample, FAR if end is None else samples[end]))
            position = len(samples) if end is None else end
        elif symbol in CLASS_OF:
            marks.samples.append(sample)
            marks.classes.append(CLASS_OF[symbol])
        elif _unreadable(symbol, subtypes[position]):
            follows = [a[position + 1] for a in (samples, symbols, subtypes)] if position + 1 < len(samples) else None
            marks.shutdowns.extend(_shutdown(marks, sample, follows, window))
        position += 1
    return marks


def _unreadable(symbol: str, subtype: int) -> bool:
    return symbol == "~" and subtype & UNREADABLE_BITS == UNREADABLE_BITS


def _shutdown(marks: Marks, sample: int, follows: Sequence | None, window: int) -> list[tuple[int, int]]:
    """The stretch that the mark at `sample` begins; `follows`: sample, symbol and subtype of the next annotation."""
    if follows is None:
        return [(sample, FAR)]
    next_sample, next_symbol, next_subtype = follows
    if next_symbol == "~" and not _unreadable(next_symbol, next_subtype):
        return [(sample, next_sample)]
    last_beat = marks.samples[-1] if marks.samples else 0
    last_flutter = marks.flutters[-1][1] if marks.flutters else 0
    end = next_sample - window
    return [(min(max(last_beat, last_flutter) + window, end), end)] if end >= last_beat else []


def read_marks(path: Path, extension: str, fs_hz: float, frames_hz: float | None = None) -> Marks:
    """The marks of annotation file `path`.`extension` of a record sampled at `fs_hz`, in `frames_hz` frames a second.

    A file in another time resolution, which it states itself or a header beside it, is brought to the record's. One
    that states none is in frames.
    Raises DeepECGError when the file is missing or broken, or its beats are not in the order of time.
    """
    annotation = read_annotations(path, extension)
    file_hz = annotation.fs or frames_hz or fs_hz
    samples = to_rate(annotation.sample, file_hz, fs_hz).tolist()
    marks = parse_marks(samples, annotation.symbol, annotation.subtype.tolist(), to_samples(WINDOW_S, fs_hz))
    if any(later < earlier for earlier, later in zip(marks.samples, marks.samples[1:])):
        raise DeepECGError(f"annotation file {path}.{extension}: its beats are not in the order of time: sort them")
    raw = Path(f"{path}.{extension}").read_bytes()  # the package does not return notes at the first sample
    rhythms = rhythm_marks(samples, annotation.symbol, annotation.aux_note or [""] * len(samples))
    return replace(marks, rhythms=rhythms, synthetic=b"SYNTHETIC" in raw)


def rhythm_marks(samples: Sequence[int], symbols: Sequence[str], notes: Sequence[str]) -> list[tuple[int, str]]:
    """Where a rhythm begins and its name, of the + marks with notes such as (AFIB among annotations in order of time.

    Ventricular flutter and fibrillation are VF from [ to ], where the rhythm before goes on.
    """
    marks, latest, flutter = [], "", False
    for sample, symbol, note in zip(samples, symbols, notes):
        if symbol == "+" and note.startswith("("):
            latest = note[1:].rstrip("\0 ")
        if symbol in ("[", "]", "+"):
            flutter = symbol == "[" or (flutter and symbol != "]")
            marks.append((sample, "VF" if flutter else latest))
    return marks


def to_samples(time_s: float, fs_hz: float) -> int:
    """`time_s` in samples at `fs_hz`, rounded half up as in the WFDB library."""
    return int(time_s * fs_hz + 0.5)


# Beat by beat ----------------------------------------------------------------------------------------------------


def pair_beats(
    reference: Sequence[int], test: Sequence[int], window: int, start: int, end: int | None
) -> Iterator[tuple[int, int, bool, bool]]:
    """Walks along two lists of beats, in samples and rising, and pairs them one to one.

    Yields (i, j, has_reference, has_test) at each step: i and j are the beats that the walk has come to, the length
    of the list where it has ended; the flags say which of them the step takes, both where the two are a pair.
    `start` is the first sample that is scored, `end` the last, or None where the length of the record is unknown:
    then the walk ends with the reference.

    Two beats are a pair when they lie within `window`, and no rival, the beat after the earlier of them in its own
    file, lies as near to the later one; a rival that is nearer still to the beat after the later one does not count.
    """
    i, j = bisect_left(reference, start), bisect_left(test, start)
    beats = len(reference)
    reference, test = [*reference, FAR, FAR], [*test, FAR, FAR]

    def apart(i: int, j: int) -> int:
        return abs(reference[i] - test[j])

    # A test beat just before the start may be the first reference beat; one just after it that is not the first
    # reference beat may belong to a reference beat before the start, which is not scored, and neither is it.
    if j > 0 and apart(i, j - 1) <= window and apart(i, j - 1) < apart(i, j):
        yield i, j - 1, True, True
        i += 1
    elif test[j] - start <= window and apart(i, j + 1) < apart(i, j):
        j += 1
    while i < beats if end is None else min(reference[i], test[j]) <= end:
        test_first = test[j] < reference[i]
        rival = apart(i, j + 1) if test_first else apart(i + 1, j)
        pair = apart(i, j) <= window and (apart(i, j) < rival or apart(i + 1, j + 1) < rival)
        has_reference, has_test = pair or not test_first, pair or test_first
        yield i, j, has_reference, has_test
        i, j = i + has_reference, j + has_test


def compare(
    reference: Marks,
    test: Marks,
    fs_hz: float,
    length: int | None,
    counted: Sequence[tuple[int, int]] | None = None,
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The matrix (7, 7) of ROWS and COLUMNS, and the RR intervals compared, each (reference, test) in samples.

    `length` is the record's in samples, or None. Of the matrix, `counted` stretches (start, end), both ends within,
    take only the beats whose R-peak, the reference's where there is one, lies in them. Extra test beats are not
    counted within flutter of the reference. The intervals are those that end at the beats which the walk has come to,
    at every step, whether these beats are a pair or not: so a missed or extra beat tells twice.
    """
    matrix = np.zeros((len(ROWS), len(COLUMNS)), int)
    reference_rr, test_rr = reference.intervals(), test.intervals()
    reference = replace(reference, flutters=disjoint(reference.flutters), shutdowns=disjoint(reference.shutdowns))
    test = replace(test, shutdowns=disjoint(test.shutdowns))
    compared = []
    steps = pair_beats(
        reference.samples, test.samples, to_samples(WINDOW_S, fs_hz), to_samples(LEARNING_S, fs_hz), length
    )
    for i, j, has_reference, has_test in steps:
        row = ROWS.index(reference.classes[i]) if has_reference else _row_of_extra(test.samples[j], reference)
        column = ROWS.index(test.classes[j]) if has_test else _column_of_missed(reference.samples[i], test)
        at = reference.samples[i] if has_reference else test.samples[j]
        inside = counted is None or within(at, counted)
        if inside and row is not None and min(row, column) < UNMATCHED:  # not what is no beat in either file
            matrix[row, column] += 1
        if i < len(reference_rr) and j < len(test_rr) and reference_rr[i] and test_rr[j]:
            compared.append((reference_rr[i], test_rr[j]))
    return matrix, compared


def _row_of_extra(sample: int, reference: Marks) -> int | None:
    if within(sample, reference.flutters):
        return None
    return ROWS.index("X" if within(sample, reference.shutdowns) else "O")


def _column_of_missed(sample: int, test: Marks) -> int:
    return COLUMNS.index("x" if within(sample, test.shutdowns) else "o")


def rms_error_ms(intervals: Sequence[tuple[int, int]], fs_hz: float) -> float | None:
    """Root mean square of the differences of pairs of RR intervals in samples; None where there are none."""
    if not intervals:
        return None
    errors = np.subtract(*np.transpose(intervals))
    return float(1000 / fs_hz * np.sqrt(np.mean(errors.astype(float) ** 2)))


def shutdown_s(marks: Marks, fs_hz: float, length: int | None) -> int:
    """Whole seconds of shutdown, rounded half up; one without an end lasts to that of the record, if it is known."""
    ends = [(start, length if end == FAR else end) for start, end in marks.shutdowns]
    return int(sum(max(end - start, 0) for start, end in ends if end is not None) / fs_hz + 0.5)


# Measures --------------------------------------------------------------------------------------------------------


def measures(matrix: np.ndarray, aggregate: bool = False) -> dict[str, tuple[int, int]]:
    """Each of MEASURES as (beats found, of so many), from a matrix (7, 7).

    F and Q beats called V are no false VEBs, and Q beats called S no false SVEBs. An F beat called S is a false SVEB
    in the report of a record and is not in figures over records: the reference implementation has it so.
    """
    hits = int(matrix[:UNMATCHED, :UNMATCHED].sum())
    false_veb = np.delete(matrix[:, V], [V, F, ROWS.index("Q")]).sum()
    false_sveb = np.delete(matrix[:, S], [S, ROWS.index("Q")] + [F] * aggregate).sum()
    veb, sveb = int(matrix[V, V]), int(matrix[S, S])
    return {
        "qrs_se": (hits, int(matrix[:UNMATCHED].sum())),
        "qrs_ppv": (hits, int(matrix[:, :UNMATCHED].sum())),
        "veb_se": (veb, int(matrix[V].sum())),
        "veb_ppv": (veb, veb + int(false_veb)),
        "sveb_se": (sveb, int(matrix[S].sum())),
        "sveb_ppv": (sveb, sveb + int(false_sveb)),
    }


def percentage(part: float, whole: float) -> float | None:
    """`part` of `whole` in per cent; None where it is 0/0."""
    return float(100 * part / whole) if whole else None


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def missed_in_shutdown(matrix: np.ndarray) -> dict[str, tuple[int, int]]:
    """Reference beats missed while the test file was shut down, of so many: all beats and those of N, S, V and F.

    All beats means all: `bxb` leaves the S beats out of that numerator.
    """
    counts = {"beats": (int(matrix[:UNMATCHED, -1].sum()), int(matrix[:UNMATCHED].sum()))}
    return counts | {ROWS[row]: (int(matrix[row, -1]), int(matrix[row].sum())) for row in (N, S, V, F)}


# Records ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """What one record came to: its matrix (7, 7) of ROWS and COLUMNS, RMS RR interval error, time of shutdown."""

    record: str
    fs_hz: float
    matrix: np.ndarray
    rr_error_ms: float | None
    rr_intervals: int
    shutdown_s: int
    synthetic: bool
    rhythms: dict[str, episodes.Compared] = field(default_factory=dict)


def score_record(
    path: Path, test_extension: str, reference_extension: str = "atr", test_folder: Path | None = None
) -> Score | None:
    """Compares the annotations `test_extension` beside the record at `path`, or in `test_folder`, with the reference's.

    `path` is that of a WFDB record, without extension, or of a file of another format. None where the record ends
    within the learning period. Raises DeepECGError when a file is missing or broken, or when the beats of a file lie
    outside the record.
    """
    base, fs_hz, frames_hz, length, comments = _described(path)
    reference = read_marks(base, reference_extension, fs_hz, frames_hz)
    test_path = base if test_folder is None else test_folder / base.name
    test = read_marks(test_path, test_extension, fs_hz, frames_hz)
    for marks, file in ((reference, f"{base}.{reference_extension}"), (test, f"{test_path}.{test_extension}")):
        _check_inside(marks, file, fs_hz, length)
    last = max(reference.samples, default=0) if length is None else length
    if last <= to_samples(LEARNING_S, fs_hz):
        return None
    matrix, compared = compare(reference, test, fs_hz, length)
    start, end = to_samples(LEARNING_S, fs_hz), last if length is None else length
    compared_rhythms = episodes.compare_marks(reference.rhythms, test.rhythms, fs_hz, start, end)
    synthetic = reference.synthetic or test.synthetic or any("SYNTHETIC" in line for line in comments)
    return Score(
        record=base.name,
        fs_hz=fs_hz,
        matrix=matrix,
        rr_error_ms=rms_error_ms(compared, fs_hz),
        rr_intervals=len(compared),
        shutdown_s=shutdown_s(test, fs_hz, length),
        synthetic=synthetic,
        rhythms=compared_rhythms,
    )


def _described(path: Path) -> tuple[Path, float, float, int | None, list[str]]:
    """Of the record at `path`: its path without extension, samples and frames a second, samples, and its notes."""
    if is_alone(path):
        file = open_any(path, TextSettings())
        number = next(iter(candidates(file.leads, file.units, ())), 0)
        return file.base, file.fs_hz(number), file.fs_hz(number), len(file.signals_mv([number])[0]), file.comments
    header = parse_header(path)
    signals = RecordFile.open(path).signals if hasattr(header, "seg_name") else header
    per_frame = max((each or 1 for each in signals.samps_per_frame or ()), default=1)
    length = header.sig_len and header.sig_len * per_frame
    return path, float(header.fs) * per_frame, float(header.fs), length, header.comments


def _check_inside(marks: Marks, file: str, fs_hz: float, length: int | None):
    if length is not None and marks.samples and marks.samples[-1] > length + OUTSIDE_S * fs_hz:
        raise DeepECGError(
            f"annotation file {file}: its last beat, at {marks.samples[-1] / fs_hz:.1f} s, lies outside the record, "
            f"which lasts {length / fs_hz:.1f} s: its times must count samples at {fs_hz:g} Hz or state their own rate"
        )


def score_records(
    records: Sequence[str],
    test_extension: str,
    reference_extension: str = "atr",
    test_folder: Path | None = None,
    json_path: Path | None = None,
    matrices: bool = False,
) -> dict:
    """Scores `records` (paths, WFDB ones with or without .hea), prints the report and returns it; see `score_record`.

    Writes it to `json_path` where that is given; `matrices` prints the matrix of each record too. Raises DeepECGError
    when a record cannot be scored because of its files, or when none lasts longer than the learning period.
    """
    paths = [Path(record.removesuffix(".hea")) for record in records]
    _check_names(paths)
    extensions = test_extension.removeprefix("."), reference_extension.removeprefix(".")
    scores = {path.name: score_record(path, *extensions, test_folder) for path in paths}
    short = [name for name, score in scores.items() if score is None]
    for name in short:
        print(f"{name}: not scored, it ends within the first {LEARNING_S / 60:g} minutes, which EC57 leaves out")
    if len(short) == len(scores):
        raise DeepECGError(f"no record lasts longer than the {LEARNING_S / 60:g} minutes that EC57 leaves out")
    report = build_report([score for score in scores.values() if score], *extensions) | {"not_scored": short}
    print(render(report, matrices))
    if json_path is not None:
        write_json(json_path, report)
        print(f"\nreport       {json_path}")
    return report


def _check_names(paths: Sequence[Path]):
    names = [path.name for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise DeepECGError(f"record {name} is given {names.count(name)} times: each can be scored once in a table")


# Report ----------------------------------------------------------------------------------------------------------


def build_report(scores: Sequence[Score], test_extension: str, reference_extension: str) -> dict:
    """The report of one or more scores: of each record, gross (all beats together) and average (over the records).

    Rates are in per cent, None where they are 0/0; those are left out of an average.
    """
    total = np.sum([score.matrix for score in scores], axis=0)
    rates = [measures(score.matrix, aggregate=True) for score in scores]
    return {
        "standard": "ANSI/AAMI EC57, beat by beat",
        "reference": reference_extension,
        "test": test_extension,
        "window_ms": 1000 * WINDOW_S,
        "left_out_s": LEARNING_S,
        "synthetic": any(score.synthetic for score in scores),
        "rows": list(ROWS),
        "columns": list(COLUMNS),
        "records": [_record_report(score) for score in scores],
        "gross": _counts(total, aggregate=True) | {"shutdown_s": sum(score.shutdown_s for score in scores)},
        "episodes": episodes_report({score.record: score.rhythms for score in scores}),
        "average": {name: mean([percentage(*rate[name]) for rate in rates]) for name in MEASURES}
        | {"rr_error_ms": mean([score.rr_error_ms for score in scores])},
    }


def _record_report(score: Score) -> dict:
    return {
        "record": score.record,
        "fs_hz": score.fs_hz,
        **_counts(score.matrix),
        "rr_error_ms": score.rr_error_ms,
        "rr_intervals": score.rr_intervals,
        "shutdown_s": score.shutdown_s,
    }


def _counts(matrix: np.ndarray, aggregate: bool = False) -> dict:
    """The part of the report that follows from a matrix alone."""
    return {
        "beats": {ROWS[row]: int(matrix[row].sum()) for row in range(UNMATCHED)},
        "matrix": matrix.tolist(),
        "measures": _percentages(measures(matrix, aggregate)),
        "missed_in_shutdown": _percentages(missed_in_shutdown(matrix)),
    }


def _percentages(counts: dict[str, tuple[int, int]]) -> dict[str, dict]:
    return {name: {"count": n, "of": of, "percent": percentage(n, of)} for name, (n, of) in counts.items()}


def episodes_report(compared: dict[str, dict[str, episodes.Compared]]) -> dict:
    """Of each kind of episodes that a record has: its records that have them, gross, and the average of their rates."""
    report = {}
    for kind in episodes.KINDS:
        counts = {record: of_kinds[kind] for record, of_kinds in compared.items() if kind in of_kinds}
        there = {record: one for record, one in counts.items() if one.reference or one.test}
        if there:
            rates, gross = [one.rates() for one in there.values()], sum(there.values(), episodes.Compared())
            report[kind] = {
                "records": {record: asdict(one) | one.rates() for record, one in there.items()},
                "gross": asdict(gross) | gross.rates(),
                "average": {name: mean([rate[name] for rate in rates]) for name in episodes.RATES},
            }
    return report


def render(report: dict, matrices: bool = False) -> str:
    """The report as tables for the terminal."""
    lines = [SYNTHETIC_LINE] if report["synthetic"] else []
    lines += [
        f"EC57 beat by beat: reference {report['reference']}, test {report['test']}; match window "
        f"{report['window_ms']:g} ms, the first {report['left_out_s'] / 60:g} minutes left out; e, j and n count as S",
        "",
        _line("record", ["QRS", "Se %", "+P %", "VEB", "Se %", "+P %", "SVEB", "Se %", "+P %", "RR error ms"]),
    ]
    lines += [_line(record["record"], _cells(record)) for record in report["records"]]
    lines += [_line("gross", _cells(report["gross"])), _line("average", _average_cells(report["average"]))]
    shown = [(f"record {record['record']}", record) for record in report["records"]] if matrices else []
    for title, counts in [*shown, ("gross", report["gross"])]:
        lines += ["", *_matrix_lines(title, counts)]
    for kind, found in report["episodes"].items():
        lines += ["", *_episode_lines(kind, found)]
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:10}" + "".join(f"{cell:>{13 if k == len(cells) - 1 else 8}}" for k, cell in enumerate(cells))


def _cells(counts: dict) -> list[str]:
    """QRS, VEB and SVEB: reference beats, Se and +P; then the RR error."""
    rates = counts["measures"]
    cells = []
    for kind in ("qrs", "veb", "sveb"):
        cells.append(number(rates[f"{kind}_se"]["of"]))
        cells += [number(rates[f"{kind}_{rate}"]["percent"], ".2f") for rate in ("se", "ppv")]
    return [*cells, number(counts.get("rr_error_ms"), ".2f")]


def _average_cells(average: dict) -> list[str]:
    cells = []
    for kind in ("qrs", "veb", "sveb"):
        cells += ["", *(number(average[f"{kind}_{rate}"], ".2f") for rate in ("se", "ppv"))]
    return [*cells, number(average["rr_error_ms"], ".2f")]


def _episode_lines(kind: str, found: dict) -> list[str]:
    header = ["reference", "test", "Se %", "+P %", "reference s", "test s", "Se %", "+P %"]
    lines = [f"episodes of {kind}: how many, then how long", _episode_line("record", header)]
    for name, counts in [*found["records"].items(), ("gross", found["gross"]), ("average", found["average"])]:
        rates = [number(counts[rate], ".2f") for rate in episodes.RATES]
        many = [number(counts[side], ",.0f") if side in counts else "" for side in ("reference", "test")]
        long = [number(counts[f"{side}_s"], ",.1f") if f"{side}_s" in counts else "" for side in ("reference", "test")]
        lines.append(_episode_line(name, [*many, *rates[:2], *long, *rates[2:]]))
    return lines


def _episode_line(name: str, cells: Sequence[str]) -> str:
    return f"{name:10}" + "".join(f"{cell:>13}" for cell in cells)


def _matrix_lines(title: str, counts: dict) -> list[str]:
    shutdown, missed = counts["shutdown_s"], counts["missed_in_shutdown"]["beats"]["count"]
    lines = [
        f"{title}: rows reference, columns test; O, X extra, X where the reference is unreadable; o, x missed, x while "
        "shut down",
        f"{'':4}" + "".join(f"{name:>8}" for name in COLUMNS),
    ]
    for row, name in enumerate(ROWS):
        cells = counts["matrix"][row][: UNMATCHED if row >= UNMATCHED else None]
        lines.append(f"{name:4}" + "".join(f"{cell:>8,}" for cell in cells))
    return [*lines, f"shut down for {shutdown:,} s, {missed:,} beats missed in it"] if shutdown or missed else lines
