"""A SYNTHETIC arrhythmia database shaped like MIT-BIH, for the offline demonstration and for tests.

`write_database` writes WFDB records (360 Hz, two leads, format 212, `.atr` annotations) under the names of the 44
DS1 and DS2 records. Every name is one made-up patient: heart rate, lead names and the number of ectopic beats follow
the published counts of the real record, the waves are sums of Gaussians around each beat (the idea of McSharry,
Clifford, Tarassenko and Smith, "A dynamical model for generating synthetic electrocardiogram signals", IEEE Trans.
Biomed. Eng. 50(3), 2003), and the timing follows textbook rules: respiratory and Mayer heart-rate variability,
supraventricular beats that reset the sinus node, ventricular beats with a full compensatory pause. Results on these
records say whether the pipeline works, and nothing about patients.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from tqdm import tqdm

from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import check_whole, scratch_folder, write_text

FS_HZ = 360
GAIN_ADU_PER_MV = 200
BASELINE_ADU = 1024
MAX_ADU = 2047  # the recorders of the real database had 11 bits
MAINS_HZ = 60
GENERATOR = 1  # part of every header: raise it when the signals change, so that older records are written anew
MIN_MINUTES = 0.5
MARKER_NAME = "SYNTHETIC.txt"
MARKER_TEXT = "SYNTHETIC: the records in this folder are generated signals, not recordings of patients.\n"


@dataclass(frozen=True)
class Patient:
    """One made-up patient. `s`, `v`, `f`, `q` and `escapes` are beats per 30 minutes, as counted in the real record."""

    heart_rate_bpm: float
    second_lead: str
    normal: str = "N"  # symbol of the conducted beats: N, L (left) or R (right bundle branch block)
    s: int = 0
    v: int = 0
    f: int = 0
    q: int = 0
    s_symbols: str = "A"  # one is drawn for each S run: A atrial, a aberrated, J nodal, S supraventricular
    escape: str = "j"  # late beats: e atrial, j nodal, E ventricular
    escapes: int = 0
    fibrillation: float = 0.0  # share of the record, counted from its end, in atrial fibrillation
    noise: float = 1.0  # scales wander, muscle noise and artefacts
    rhythm: str = "(N"
    mlii_second: bool = False


PATIENTS = {
    "100": Patient(76, "V5", s=33, v=1),
    "101": Patient(62, "V1", s=3, q=2),
    "103": Patient(69, "V2", s=2),
    "105": Patient(85, "V1", v=41, q=5, noise=2.2),
    "106": Patient(67, "V1", v=520, noise=1.4),
    "108": Patient(59, "V1", s=4, v=17, f=2, noise=2.0),
    "109": Patient(84, "V1", normal="L", v=38, f=2),
    "111": Patient(71, "V1", normal="L", v=1, noise=1.4),
    "112": Patient(84, "V1", s=2),
    "113": Patient(60, "V1", s=6, s_symbols="a"),
    "114": Patient(62, "V5", s=12, v=43, f=4, s_symbols="AAAAJ", mlii_second=True),
    "115": Patient(65, "V1", noise=0.7),
    "116": Patient(80, "V1", s=1, v=109),
    "117": Patient(51, "V2", s=1, noise=0.7),
    "118": Patient(76, "V1", normal="R", s=96, v=16, noise=1.4),
    "119": Patient(66, "V1", v=444),
    "121": Patient(62, "V1", s=1, v=1, noise=1.4),
    "122": Patient(82, "V1", noise=0.7),
    "123": Patient(50, "V5", v=3, noise=0.7),
    "124": Patient(54, "V4", normal="R", s=31, v=47, f=5, s_symbols="J", escapes=5),
    "200": Patient(86, "V1", s=30, v=826, f=2, noise=1.8),
    "201": Patient(65, "V1", s=128, v=198, f=2, s_symbols="aaaA", escapes=10, fibrillation=0.4),
    "202": Patient(71, "V1", s=55, v=19, f=1, s_symbols="AAa", fibrillation=0.4),
    "203": Patient(99, "V1", v=444, f=1, q=4, fibrillation=1.0, noise=2.2),
    "205": Patient(88, "V1", s=3, v=71, f=11, noise=0.7),
    "207": Patient(62, "V1", normal="L", s=107, v=105, escape="E", escapes=105),
    "208": Patient(98, "V1", s=2, v=992, f=373, q=2, s_symbols="S", noise=1.4),
    "209": Patient(100, "V1", s=383, v=1, noise=1.4),
    "210": Patient(88, "V1", v=194, f=10, escape="E", escapes=1, fibrillation=1.0),
    "212": Patient(91, "V1", normal="R", noise=1.4),
    "213": Patient(108, "V1", s=28, v=220, f=362, noise=0.7),
    "214": Patient(75, "V1", normal="L", v=256, f=1, q=2),
    "215": Patient(112, "V1", s=3, v=164, f=1, noise=1.6),
    "219": Patient(72, "V1", v=64, f=1, fibrillation=1.0),
    "220": Patient(68, "V1", s=94),
    "221": Patient(81, "V1", v=396, fibrillation=1.0),
    "222": Patient(83, "V1", s=209, escapes=212, fibrillation=0.5),
    "223": Patient(87, "V1", s=73, v=473, f=14, escape="e", escapes=16),
    "228": Patient(68, "V1", s=3, v=362, noise=2.0),
    "230": Patient(75, "V1", v=1, noise=0.7),
    "231": Patient(52, "V1", normal="R", s=1, v=2, noise=0.7),
    "232": Patient(59, "V1", normal="R", s=1382, noise=1.4, rhythm="(SBR"),
    "233": Patient(102, "V1", s=7, v=831, f=11),
    "234": Patient(91, "V1", s=50, v=3, s_symbols="J"),
}

# Waves as Gaussians, one row each: centre from R (ms), width (one standard deviation, ms), mV in MLII, V1 and V5.
_P_WAVE = ((-14, 20, 0.10, 0.06, 0.06), (14, 18, 0.08, -0.05, 0.06))  # centred on the middle of the P wave
_QRST = {
    "N": (
        (-30, 8, -0.08, 0.00, -0.10),  # q
        (-15, 9, 0.12, 0.25, 0.10),  # r in V1
        (0, 10, 1.15, -0.95, 1.25),  # R, or S in V1
        (26, 10, -0.20, -0.30, -0.30),  # s
        (130, 45, 0.03, 0.05, 0.03),  # ST
        (235, 48, 0.14, 0.06, 0.17),  # T, slow upstroke
        (285, 32, 0.16, 0.08, 0.20),  # T, faster downstroke
    ),
    "L": (  # broad notched R without q, ST and T against it; deep S and upright T in V1
        (-28, 16, 0.50, 0.08, 0.45),
        (0, 15, 0.88, -0.90, 0.80),
        (43, 19, 0.74, -0.80, 0.85),
        (130, 45, -0.10, 0.15, -0.12),
        (250, 55, -0.22, 0.25, -0.24),
        (310, 35, -0.12, 0.15, -0.12),
    ),
    "R": (  # narrow R with a broad late s in MLII and V5; rSR' and an inverted T in V1
        (-30, 8, -0.07, 0.00, -0.08),
        (-15, 9, 0.10, 0.25, 0.10),
        (0, 10, 1.00, -0.45, 1.05),
        (40, 17, -0.22, 0.35, -0.28),
        (66, 19, -0.20, 0.65, -0.24),
        (235, 48, 0.13, -0.12, 0.16),
        (285, 32, 0.14, -0.12, 0.16),
    ),
    "V upright": (  # slow slurred upstroke, T against the QRS
        (-52, 20, 0.40, 0.12, 0.15),
        (0, 24, 1.55, -1.20, 0.90),
        (42, 22, 0.45, -0.70, 0.35),
        (110, 32, -0.25, 0.12, -0.20),
        (200, 60, -0.34, 0.25, -0.20),
        (295, 55, -0.42, 0.38, -0.30),
    ),
    "V inverted": (  # small slurred r, then a broad deep S, T upright
        (-62, 17, 0.30, 0.45, 0.20),
        (0, 24, -1.50, 1.05, -0.80),
        (46, 22, -0.60, 0.60, -0.55),
        (190, 60, 0.20, -0.18, 0.12),
        (295, 60, 0.50, -0.36, 0.34),
    ),
}
_T_FROM_MS = 115  # rows later than this are repolarisation: they follow the RR interval, the QRS does not
_PRE_SAMPLES = round(0.30 * FS_HZ)  # span of one beat's waves around R
_POST_SAMPLES = round(0.60 * FS_HZ)
_PEAK_SAMPLES = round(0.06 * FS_HZ)  # R is looked for this far around the nominal beat


def write_database(
    folder: Path, records: Sequence[str], minutes: float, seed: int = 0, progress: bool = False
) -> None:
    """Write SYNTHETIC WFDB records, `RECORDS` and the marker `SYNTHETIC.txt` into `folder` (made where absent).

    Each record has two signals of `minutes` * 60 * 360 samples in mV (200 adu/mV, baseline 1024). Its bytes depend
    on its name, `minutes` and `seed` only. Files appear by `os.replace`, the header last: a record with a header is
    whole. Records that are already whole with the same length and seed are left as they are.

    Raises DeepECGError for an unknown record name, for less than half a minute, for a negative seed, and for a folder
    that holds records which are not synthetic.
    """
    folder = Path(folder)
    _check_arguments(folder, records, minutes, seed)
    folder.mkdir(parents=True, exist_ok=True)
    # disable=None shows the bar on a terminal only
    for record in tqdm(records, desc="SYNTHETIC records", unit="record", disable=None if progress else True):
        if not _is_whole(folder, record, minutes, seed):
            _write_record(folder, record, minutes, seed)
    names = sorted(path.stem for path in folder.glob("*.hea"))
    write_text(folder / "RECORDS", "".join(f"{name}\n" for name in names))
    write_text(folder / MARKER_NAME, MARKER_TEXT)


def _check_arguments(folder: Path, records: Sequence[str], minutes: float, seed: int):
    unknown = [record for record in records if record not in PATIENTS]
    if unknown:
        raise DeepECGError(f"there is no synthetic record {unknown[0]!r}: use names of DS1 and DS2")
    if not MIN_MINUTES <= minutes < math.inf:
        raise DeepECGError(f"synthetic records of {minutes!r} minutes cannot be made: use {MIN_MINUTES} or more")
    if seed < 0:
        raise DeepECGError(f"seed {seed!r} cannot be used: it must be 0 or more")
    for header in sorted(folder.glob("*.hea")):
        if "SYNTHETIC" not in header.read_text(encoding="utf-8", errors="replace"):
            raise DeepECGError(f"{header} is not a synthetic record: choose another folder for synthetic data")


def _stamp(minutes: float, seed: int) -> str:
    return f"SYNTHETIC: a generated signal, not a patient (generator {GENERATOR}, seed {seed}, {minutes:g} minutes)"


def _n_samples(minutes: float) -> int:
    return round(minutes * 60 * FS_HZ)


def _is_whole(folder: Path, record: str, minutes: float, seed: int) -> bool:
    header, signal, annotation = (folder / f"{record}.{ending}" for ending in ("hea", "dat", "atr"))
    if not (header.is_file() and signal.is_file() and annotation.is_file()):
        return False
    stamped = f"# {_stamp(minutes, seed)}" in header.read_text(encoding="utf-8", errors="replace").splitlines()
    # Format 212 packs the two samples of one instant in three bytes.
    return stamped and signal.stat().st_size == 3 * _n_samples(minutes) and annotation.read_bytes().endswith(b"\0\0")


def _write_record(folder: Path, record: str, minutes: float, seed: int):
    patient = PATIENTS[record]
    rng = np.random.default_rng([seed, int(record)])
    signal_mv, annotations = _make_record(patient, _n_samples(minutes), rng)
    names = ["MLII", patient.second_lead]
    if patient.mlii_second:
        signal_mv, names = signal_mv[::-1], names[::-1]
    adu = np.clip(np.rint(signal_mv.T * GAIN_ADU_PER_MV) + BASELINE_ADU, 0, MAX_ADU).astype(np.int64)

    # WFDB writes a record's own name into its files, so the temporary part is the folder, not the name.
    with scratch_folder(folder) as temporary:
        _write_wfdb(temporary, record, adu, names, annotations, _stamp(minutes, seed))
        check_whole(_is_whole(temporary, record, minutes, seed))
        (folder / f"{record}.hea").unlink(missing_ok=True)
        for ending in ("dat", "atr", "hea"):
            os.replace(temporary / f"{record}.{ending}", folder / f"{record}.{ending}")


def _write_wfdb(folder: Path, record: str, adu: np.ndarray, names: list[str], annotations, stamp: str):
    # wfdb.wrsamp takes no ADC resolution and zero, which the real headers state; the class behind it does.
    wfdb_record = wfdb.Record(
        record_name=record,
        fs=FS_HZ,
        d_signal=adu,
        sig_name=names,
        units=["mV", "mV"],
        fmt=["212", "212"],
        adc_gain=[GAIN_ADU_PER_MV] * 2,
        baseline=[BASELINE_ADU] * 2,
        adc_res=[11, 11],
        adc_zero=[BASELINE_ADU] * 2,
        comments=[stamp],
    )
    wfdb_record.set_d_features()
    wfdb_record.set_defaults()
    wfdb_record.wrsamp(write_dir=str(folder))
    samples, symbols, aux_notes = zip(*annotations)
    wfdb.wrann(
        record, "atr", np.array(samples), symbol=list(symbols), aux_note=list(aux_notes), write_dir=str(folder)
    )


def _make_record(patient: Patient, n_samples: int, rng: np.random.Generator):
    """One record: signals (2, n_samples) in mV, MLII first, and annotations as sorted (sample, symbol, aux_note)."""
    duration_s = n_samples / FS_HZ
    kinds, fibrillating, rhythms = _beat_kinds(patient, duration_s, rng)
    respiration_hz = rng.uniform(0.2, 0.33)
    times_s, expected_s = _beat_times(patient, kinds, fibrillating, respiration_hz, duration_s, rng)
    t_s = np.arange(n_samples) / FS_HZ
    respiration = np.sin(_respiration_phase(t_s, respiration_hz))
    signal_mv, r_samples = _ecg(patient, kinds, fibrillating, times_s, expected_s, respiration, rng)
    if fibrillating.any():
        onset_s = times_s[np.argmax(fibrillating)] - 0.3
        signal_mv += _fibrillatory_waves(t_s, onset_s, rng)
    noise_mv, artefacts = _noise(patient.noise, t_s, respiration, rng)
    symbols = np.where(kinds == "N", patient.normal, kinds)
    return signal_mv + noise_mv, _annotations(r_samples, symbols, rhythms, artefacts)


def _beat_kinds(patient: Patient, duration_s: float, rng: np.random.Generator):
    """Beat symbols in order ("N" stands for any normally conducted beat), the fibrillation mask, rhythm changes."""
    n_beats = round(patient.heart_rate_bpm * duration_s / 60)
    n_fibrillating = round(patient.fibrillation * n_beats)
    n_sinus = n_beats - n_fibrillating
    minutes = duration_s / 60
    counts = {name: _quota(getattr(patient, name.lower()), name, minutes, rng) for name in "SVFQ"}
    counts["escape"] = _quota(patient.escapes, "escape", minutes, rng)
    in_fibrillation = {name: round(counts[name] * n_fibrillating / n_beats) for name in "VFQ"}
    in_sinus = counts | {name: counts[name] - in_fibrillation[name] for name in "VFQ"}
    if n_sinus == 0:
        in_fibrillation["escape"] = counts["escape"]

    text = ""
    rhythms: list[tuple[int, str]] = []
    for n, rhythm, part in ((n_sinus, patient.rhythm, in_sinus), (n_fibrillating, "(AFIB", in_fibrillation)):
        if n:
            pieces = _pieces(patient, part, rhythm == "(AFIB", rng)
            text += _spread(pieces, n, len(text), rhythm, rhythms, rng)
    return np.array(list(text)), np.arange(n_beats) >= n_sinus, rhythms


def _quota(per_30_minutes: int, name: str, minutes: float, rng: np.random.Generator) -> int:
    count = math.floor(per_30_minutes * minutes / 30 + rng.random())
    # Short records still hold each class that marks their patient; Q is so rare that two beats mark one.
    return max(count, 1) if per_30_minutes >= (2 if name == "Q" else 10) else count


def _pieces(patient: Patient, counts: dict[str, int], fibrillating: bool, rng: np.random.Generator) -> list[str]:
    """Ectopic beats in groups (single, couplet, run, bigeminy), in random order."""
    pieces = ["F"] * counts.get("F", 0) + ["Q"] * counts.get("Q", 0) + [patient.escape] * counts.get("escape", 0)
    left = counts.get("V", 0)
    while left > 0:
        draw = rng.random()
        often = patient.v >= 150
        if often and not fibrillating and left >= 4 and draw < 0.15:
            piece = "VN" * min(left, int(rng.integers(4, 8)))
        elif often and left >= 3 and draw < 0.18:
            piece = "VVV"
        elif patient.v >= 40 and left >= 2 and draw < 0.27:
            piece = "VV"
        else:
            piece = "V"
        pieces.append(piece)
        left -= piece.count("V")
    left = counts.get("S", 0)
    while left > 0:
        in_run = rng.random() < min(patient.s / 1000, 0.95)
        piece = rng.choice(list(patient.s_symbols)) * min(left, int(rng.integers(3, 9)) if in_run else 1)
        pieces.append(piece)
        left -= len(piece)
    return [pieces[i] for i in rng.permutation(len(pieces))]


def _spread(pieces: list[str], n: int, first: int, rhythm: str, rhythms: list, rng: np.random.Generator) -> str:
    """`pieces` among normal beats, `n` beats in all, and their rhythm changes as (beat, aux_note) into `rhythms`."""
    while sum(map(len, pieces)) + len(pieces) + 1 > n:
        pieces = pieces[:-1]
    n_gaps = len(pieces) + 1
    fill = n - sum(map(len, pieces))
    base = min(3, fill // n_gaps)
    gaps = base + rng.multinomial(fill - base * n_gaps, np.full(n_gaps, 1 / n_gaps))
    rhythms.append((first, rhythm))
    text = "N" * gaps[0]
    for piece, gap in zip(pieces, gaps[1:]):
        name = {"VN": "(B", "VV": "(VT"}.get(piece[:2], "(SVTA") if len(piece) >= 3 else None
        if name:
            rhythms.append((first + len(text), name))
            rhythms.append((first + len(text) + len(piece), rhythm))
        text += piece + "N" * gap
    return text


def _beat_times(patient: Patient, kinds, fibrillating, respiration_hz: float, duration_s: float, rng):
    """Nominal beat times (s), and when each beat would have come in undisturbed rhythm."""
    rr = _relative_intervals(patient, kinds, fibrillating, rng)
    start_s, end_s = rng.uniform(0.45, 0.8), duration_s - rng.uniform(0.65, 0.9)
    about_s = start_s + (end_s - start_s) * (np.cumsum(rr) - rr[0]) / (rr.sum() - rr[0])
    pace = 1 + rng.uniform(0.01, 0.045) * np.sin(_respiration_phase(about_s, respiration_hz))
    pace += rng.uniform(0.005, 0.025) * np.sin(2 * np.pi * (0.1 * about_s + rng.random()))  # Mayer waves, 0.1 Hz
    pace += rng.uniform(0.005, 0.015) * _one_over_f(len(kinds), rng)
    scale_s = (end_s - start_s) / np.sum((rr * pace)[1:])
    times_s = start_s + scale_s * np.concatenate([[0], np.cumsum((rr * pace)[1:])])
    expected_s = np.concatenate([[start_s], times_s[:-1] + scale_s * pace[1:]])
    return times_s, expected_s


def _relative_intervals(patient: Patient, kinds: np.ndarray, fibrillating: np.ndarray, rng) -> np.ndarray:
    """The interval before each beat in units of the undisturbed RR interval."""
    n = len(kinds)
    ventricular, premature = kinds == "V", np.isin(kinds, list("AaJS"))
    after_v, after_s = (np.concatenate([[False], mask[:-1]]) for mask in (ventricular, premature))
    after_f = np.concatenate([[False], kinds[:-1] == "F"])
    # A focus fires at its own fixed coupling; at fast rates that is a larger part of the interval.
    coupling = rng.uniform(0.64, 0.74) if patient.heart_rate_bpm > 90 else rng.uniform(0.54, 0.70)

    rr = np.ones(n)
    if fibrillating.any():
        rr[fibrillating] = 0.5 + rng.gamma(5.0, 0.1, size=fibrillating.sum())  # irregularly irregular, mean 1
        rr[fibrillating & after_v] += 0.4
    rr[ventricular] = coupling + rng.normal(0, 0.015, ventricular.sum())
    rr[ventricular & after_v] = rng.uniform(0.58, 0.66, (ventricular & after_v).sum())
    rr[premature] = rng.uniform(0.58, 0.78, premature.sum())
    rr[premature & after_s] = rng.uniform(0.66, 0.76, (premature & after_s).sum())
    rr[kinds == "F"] = rng.uniform(0.92, 1.0, (kinds == "F").sum())
    escape = np.isin(kinds, list("ejE"))
    rr[escape] = rng.uniform(1.25, 1.45, escape.sum())

    conducted = (kinds == "N") & ~fibrillating
    run_end = conducted & after_v & np.concatenate([[False], after_v[:-1]])
    # A ventricular beat leaves the sinus clock alone: both intervals together are two normal ones. A supraventricular
    # beat resets it: the next beat comes one normal interval later.
    full_pause = np.flatnonzero(conducted & (after_v | after_f))
    rr[full_pause] = 2 - rr[full_pause - 1]
    rr[run_end] = rng.uniform(1.3, 1.45, run_end.sum())
    reset = conducted & after_s
    rr[reset] = rng.uniform(1.0, 1.1, reset.sum())
    return rr


def _respiration_phase(t_s: np.ndarray, respiration_hz: float) -> np.ndarray:
    return 2 * np.pi * respiration_hz * t_s + 0.8 * np.sin(2 * np.pi * 0.03 * t_s)


def _one_over_f(n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` values of 1/f noise with zero mean and unit standard deviation."""
    spectrum = rng.normal(size=n // 2 + 1) + 1j * rng.normal(size=n // 2 + 1)
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, n // 2 + 1))
    noise = np.fft.irfft(spectrum, n)
    return noise / noise.std()


def _annotations(r_samples, symbols, rhythms, artefacts) -> list[tuple[int, str, str]]:
    marks = {int(sample): (str(symbol), "") for sample, symbol in zip(r_samples, symbols)}
    others = [(18 if beat == 0 else int(r_samples[beat]) - 60, "+", aux_note) for beat, aux_note in rhythms]
    for sample, symbol, aux_note in others + [(sample, "~", "") for sample in artefacts]:
        while sample in marks:
            sample += 1
        marks[sample] = (symbol, aux_note)
    return [(sample, *marks[sample]) for sample in sorted(marks)]


def _ecg(patient: Patient, kinds, fibrillating, times_s, expected_s, respiration, rng):
    """The noise-free signals (2, n_samples) in mV, and the sample of the dominant QRS extremum in MLII of each beat."""
    n_samples = len(respiration)
    centres = np.rint(times_s * FS_HZ).astype(int)
    pre_rr_s = np.diff(times_s, prepend=2 * times_s[0] - times_s[1])
    qt = np.sqrt(np.clip(0.5 * pre_rr_s + 0.5 * np.median(pre_rr_s), 0.4, 1.1) / 0.8)  # Bazett, with a lag
    gain = 1 + 0.06 * respiration[centres] + rng.normal(0, 0.02, len(kinds))  # the chest moves the heart's axis

    beats_mv = _qrst_waves(patient, kinds, qt, gain, rng)
    window = slice(_PRE_SAMPLES - _PEAK_SAMPLES, _PRE_SAMPLES + _PEAK_SAMPLES + 1)
    r_samples = centres - _PEAK_SAMPLES + np.argmax(np.abs(beats_mv[:, 0, window]), axis=1)

    p_shape = _vary(_P_WAVE, patient.second_lead, rng)
    pr_s = rng.uniform(0.13, 0.18)
    p_times_s, p_gains = _p_waves(kinds, fibrillating, times_s, expected_s, pr_s, rng)
    p_parts = np.repeat(p_shape[None], len(p_times_s), axis=0)
    p_parts[:, :, 2:] *= p_gains[:, None, None]
    signal_mv = np.zeros((2, _PRE_SAMPLES + n_samples + _POST_SAMPLES))
    _add_beats(signal_mv, centres, beats_mv)
    _add_beats(signal_mv, np.rint(p_times_s * FS_HZ).astype(int), _gaussians(p_parts))
    return signal_mv[:, _PRE_SAMPLES:-_POST_SAMPLES], r_samples


def _add_beats(signal_mv: np.ndarray, centres: np.ndarray, beats_mv: np.ndarray):
    for centre, beat_mv in zip(centres, beats_mv):  # `signal_mv` starts _PRE_SAMPLES before sample 0
        signal_mv[:, centre : centre + beat_mv.shape[1]] += beat_mv


def _gaussians(parts: np.ndarray) -> np.ndarray:
    """Sums of Gaussians (n, 2, window) in mV of `parts` (n, waves, 4): centre and width in s, mV in both leads."""
    t_s = np.arange(-_PRE_SAMPLES, _POST_SAMPLES) / FS_HZ
    bells = np.exp(-0.5 * ((t_s - parts[:, :, :1]) / parts[:, :, 1:2]) ** 2)  # (n, waves, window)
    return parts[:, :, 2:].transpose(0, 2, 1) @ bells


def _vary(rows, second_lead: str, rng: np.random.Generator) -> np.ndarray:
    """A patient's own version of the waves in `rows`, (waves, 4): centre and width in s, mV in MLII and second lead."""
    column, scale = {"V1": (3, 1.0), "V2": (3, 1.35), "V4": (4, 1.15), "V5": (4, 1.0)}[second_lead]
    rows = np.array(rows)
    parts = np.column_stack([rows[:, 0] / 1000, rows[:, 1] / 1000, rows[:, 2], scale * rows[:, column]])
    parts[:, :2] *= rng.uniform(0.92, 1.08)
    parts[:, 2:] *= rng.lognormal(0, 0.12, (len(rows), 2)) * rng.uniform(0.8, 1.25, 2)
    late = rows[:, 0] > _T_FROM_MS
    parts[late, 2:] *= rng.uniform(0.4, 1.5, 2)
    return parts


def _qrst_waves(patient: Patient, kinds: np.ndarray, qt: np.ndarray, gain: np.ndarray, rng) -> np.ndarray:
    """QRS, ST and T of every beat: (n, 2, window) in mV."""
    n = len(kinds)
    share = np.zeros((4, n))  # how much of each shape goes into a beat: own conduction, two foci, aberrant conduction
    share[0] = 1
    foci = rng.random(n) < (0.2 if rng.random() < 0.3 else 0.0)  # some patients have a second ectopic focus
    blend = np.select([np.isin(kinds, ["V", "E"]), kinds == "F"], [1.0, rng.uniform(0.35, 0.65, n)], 0.0)
    share[0] -= blend
    share[1], share[2] = blend * ~foci, blend * foci
    aberrant = np.where(kinds == "a", rng.uniform(0.6, 0.9, n), 0.0)
    share[0] -= aberrant
    share[3] = aberrant
    share[:, kinds == "Q"] = 0

    # An upright focus keeps the peak of fusion beats, half normal and half ventricular, where both have theirs.
    upright = patient.f >= 10 or rng.random() < 0.6
    main, other = ("V upright", "V inverted") if upright else ("V inverted", "V upright")
    if patient.f >= 10:
        other = main
    waves_mv = np.zeros((n, 2, _PRE_SAMPLES + _POST_SAMPLES))
    for weight, name in zip(share, (patient.normal, main, other, "R" if patient.normal != "R" else "L")):
        shape = _vary(_QRST[name], patient.second_lead, rng)
        some = np.flatnonzero(weight)
        spread = 0.03 if name.startswith("V") else 0.012
        stretch = 1 + rng.normal(0, spread, len(some))
        parts = np.repeat(shape[None], len(some), axis=0)
        late = shape[:, 0] > _T_FROM_MS / 1000
        parts[:, :, :2] *= np.where(late, qt[some, None], stretch[:, None])[:, :, None]
        parts[:, :, 2:] *= (weight * gain)[some, None, None] * rng.normal(1, spread, (len(some), len(shape), 1))
        waves_mv[some] += _gaussians(parts)
    odd = np.flatnonzero(kinds == "Q")
    waves_mv[odd] = _odd_waves(len(odd), rng)
    return waves_mv


def _odd_waves(n: int, rng: np.random.Generator) -> np.ndarray:
    """Beats that nobody could classify: random deflections around R and noise over them, (n, 2, window) in mV."""
    parts = np.empty((n, 7, 4))
    parts[:, :, 0] = rng.uniform(-0.11, 0.16, (n, 7))
    parts[:, :, 1] = rng.uniform(0.010, 0.040, (n, 7))
    parts[:, :, 2:] = rng.normal(0, 0.45, (n, 7, 2))
    parts[:, 0] = [0, 0.018, 1.0, 0.8]  # one deflection that a detector finds
    waves_mv = _gaussians(parts)
    envelope = np.exp(-0.5 * (np.arange(-_PRE_SAMPLES, _POST_SAMPLES) / (0.09 * FS_HZ)) ** 2)
    return waves_mv + 0.07 * envelope * rng.normal(size=waves_mv.shape)


def _p_waves(kinds, fibrillating, times_s, expected_s, pr_s: float, rng):
    """Times (s) and gains of the P waves: sinus, ectopic and retrograde ones, and those that a V beat blocks."""
    ectopic = rng.choice([-0.8, 0.45, 0.7])  # an atrial focus gives a P wave of its own shape
    sinus = np.isin(kinds, ["N", "F", "Q"]) & ~fibrillating
    atrial = np.isin(kinds, ["A", "a", "S", "e"])
    nodal = np.isin(kinds, ["J", "j"])
    after_v = np.concatenate([kinds[1:] == "V", [False]])
    after_v |= np.concatenate([[False], kinds[:-1] == "V"])
    blocked = (kinds == "V") & ~fibrillating & ~after_v
    times_s = np.concatenate(
        [times_s[sinus] - pr_s, times_s[atrial] - 0.85 * pr_s, times_s[nodal] + 0.10, expected_s[blocked] - pr_s]
    )
    gains = np.repeat([1.0, ectopic, -0.5, 1.0], [sinus.sum(), atrial.sum(), nodal.sum(), blocked.sum()])
    return times_s, gains * rng.normal(1, 0.05, len(gains))


def _fibrillatory_waves(t_s: np.ndarray, onset_s: float, rng: np.random.Generator) -> np.ndarray:
    """The restless baseline of atrial fibrillation from `onset_s` on, (2, n_samples) in mV."""
    drift = sum(np.sin(2 * np.pi * (f * t_s + rng.random())) / f for f in (0.13, 0.37, 0.71, 1.3))
    phase = 2 * np.pi * rng.uniform(5.5, 7.0) * t_s + 0.9 * drift
    swell = 1 + 0.4 * np.sin(2 * np.pi * (0.23 * t_s + rng.random()))
    waves = swell * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.7))
    amplitudes_mv = rng.uniform(0.03, 0.06) * np.array([[1.0], [1.5]])
    return amplitudes_mv * waves * np.clip((t_s - onset_s) / 0.5, 0, 1)


def _noise(level: float, t_s: np.ndarray, respiration: np.ndarray, rng: np.random.Generator):
    """Noise (2, n_samples) in mV: wander, mains, muscle, motion; and the samples where motion starts and ends."""
    from scipy.signal import butter, sosfilt  # only where it is used: it takes longer than all other imports together

    minutes = len(t_s) / FS_HZ / 60
    noise_mv = rng.uniform(0.02, 0.06, (2, 1)) * level * respiration
    for f_hz in rng.uniform(0.01, 0.15, 4):
        noise_mv += rng.uniform(0.01, 0.05, (2, 1)) * level * np.sin(2 * np.pi * (f_hz * t_s + rng.random((2, 1))))
    hum = np.sin(2 * np.pi * MAINS_HZ * t_s + 2 * np.pi * rng.random())
    noise_mv += rng.uniform(0.004, 0.015, (2, 1)) * level * hum
    noise_mv += 0.003 * rng.normal(size=noise_mv.shape)

    muscle = sosfilt(butter(2, (20, 120), "bandpass", fs=FS_HZ, output="sos"), rng.normal(size=noise_mv.shape))
    envelope_mv = np.full(len(t_s), 0.006 * level)
    for _ in range(rng.poisson(0.8 * minutes * level)):
        centre_s, width_s = rng.uniform(0, t_s[-1]), rng.uniform(0.8, 2.5)
        envelope_mv += rng.uniform(0.02, 0.05) * level * np.exp(-0.5 * ((t_s - centre_s) / width_s) ** 2)
    noise_mv += envelope_mv * muscle

    artefacts = []
    for _ in range(rng.poisson(0.25 * minutes * level)):
        centre_s, width_s = rng.uniform(4, t_s[-1] - 4), rng.uniform(0.2, 0.5)
        u = (t_s - centre_s) / width_s
        height_mv = rng.choice([-1, 1], (2, 1)) * rng.uniform(0.3, 1.2, (2, 1))
        noise_mv += height_mv * (u + rng.normal()) * np.exp(-0.5 * u**2)
        artefacts += [round((centre_s - 3 * width_s) * FS_HZ), round((centre_s + 3 * width_s) * FS_HZ)]
    return noise_mv, artefacts


def is_synthetic(folder: Path, records: Sequence[str] = ()) -> bool:
    """Whether a record in `folder`, or one of `records` in its subfolders, says that it is SYNTHETIC."""
    if (folder / MARKER_NAME).exists():
        return True
    headers = [*folder.glob("*.hea"), *(folder / f"{name}.hea" for name in records if "/" in name)]
    return any("SYNTHETIC" in header.read_text(encoding="utf-8", errors="replace") for header in headers)
