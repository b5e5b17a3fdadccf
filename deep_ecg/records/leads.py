"""Which signals of a record are leads of an ECG, and in which unit, by what their recorders call them.

Names are those of the databases of PhysioNet, of the standards SCP-ECG and IEEE 11073, and of conversions from EDF.
"""

import re
import unicodedata
from collections.abc import Sequence

_SCALES = {"n": 1e-6, "u": 1e-3, "m": 1.0, "": 1e3}  # millivolts in one nano-, micro-, millivolt, volt
_PREFIXES = {"nano": "n", "micro": "u", "milli": "m"}
_MICRO = str.maketrans("\u00b5\u03bc\u00e6\ufffd?", "uuuuu")  # in Latin-1, UTF-8, code page 437, and lost
_VOLTAGE = re.compile(
    r"((?P<count>\d*[1-9]\d*|\d+[.,]\d*[1-9]\d*)\s*)?(?P<prefix>nano|micro|milli|n|u|m|)(v|volts?)", re.ASCII
)
_UNKNOWN_UNITS = frozenset("adu adus au count counts digit digits lsb raw step steps unit units 1".split()) | {""}

_II = re.compile(r"(mdc)?(ecg|ekg)?(lead|derivation|ableitung|limb)?((ml|md|m|l|d)?ii|lead2|(ml|md|l|d)2)")
_ECG = re.compile(
    r"(mdc)?((ecg|ekg).*|(lead|derivation|ableitung)?((ml|md|m|d|l)?(i|iii)|lead[13]|d[1-9]|l[13]|a?v[rlf]"
    r"|(m|c|mc|mcl|cm|cs)?v\d|v\d+r?|mcl\d?|(cm|cs|cc|ml|mod)v?\d|v|v[xyz]|[xyz]|[ae]s|ai))"
)
_OTHER_WORDS = frozenset(
    "abd abdo acc bp bpm co co2 eda event flow gsr hr lap marker mic pap pos position pulse rap rate snore sound "
    "status sv temp time trig trigger uap uvp vol".split()
)
_OTHER_STARTS = (
    "abdom", "abp", "accel", "airflow", "art", "bcg", "cvp", "ecog", "eeg", "emg", "eog", "etco", "gyro", "hemo",
    "ibp", "icp", "imp", "nasal", "nibp", "pcg", "pleth", "ppg", "press", "resp", "rsp", "sao", "scg", "spo",
    "temperature", "therm", "thorax",
)  # fmt: skip
_ELECTRODES_OF_THE_HEAD = re.compile(  # of the system 10-20; C1 to C6 alone can be V1 to V6
    r"(fp|af|fc|cp|po|[fcpota])[z\d]\d?\W+(fp|[fcpotam])[z\d]\d?|(fp|af|fc|cp|po|[fpot])[z\d]\d?", re.IGNORECASE
)


def in_millivolts(unit: str) -> float | None:
    """Millivolts in one `unit` of a signal, such as "uV" or "10 uV"; None where it is no unit of voltage."""
    text = unicodedata.normalize("NFKC", unit.strip().replace("\u00c2", "")).translate(_MICRO).lower()
    found = _VOLTAGE.fullmatch(text)
    if not found:
        return None
    return float((found["count"] or "1").replace(",", ".")) * _SCALES[_PREFIXES.get(found["prefix"], found["prefix"])]


def is_unknown_unit(unit: str) -> bool:
    """Whether `unit` says nothing of what was measured: steps of a converter, or no word at all."""
    return unit.strip().lower().strip(".") in _UNKNOWN_UNITS


def is_lead_ii(name: str) -> bool:
    """Whether `name` is a spelling of lead II: MLII, DII, ML2, "ECG lead II", MDC_ECG_LEAD_II..."""
    return not is_no_ecg(name) and bool(_II.fullmatch(_letters(name)))


def is_ecg(name: str) -> bool:
    """Whether `name` is that of a lead of an ECG."""
    return not is_no_ecg(name) and bool(_II.fullmatch(_letters(name)) or _ECG.fullmatch(_letters(name)))


def is_no_ecg(name: str) -> bool:
    """Whether `name` is that of another signal than an ECG: RESP, PLETH, EEG C4-A1, SpO2..."""
    words = re.findall(r"[a-z0-9]+", unicodedata.normalize("NFKC", name).lower())
    other = any(word in _OTHER_WORDS or word.startswith(_OTHER_STARTS) for word in words)
    return other or bool(_ELECTRODES_OF_THE_HEAD.fullmatch(name.strip()))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]|filtered|filt|raw", "", unicodedata.normalize("NFKC", name).lower())


def candidates(names: Sequence[str], units: Sequence[str], preferred: Sequence[str]) -> list[int]:
    """Which of the signals `names` in `units` can be taken for the ECG unasked, the best first.

    Those named as one of `preferred`, then a lead II of any name, other leads by name, and voltages of names that say
    nothing; last what is a lead by name in a unit that says nothing. What is no ECG by name or unit is not among them.
    """

    def rank(number: int) -> tuple | None:
        name, voltage = names[number], in_millivolts(units[number]) is not None
        if is_no_ecg(name) or not (voltage or is_unknown_unit(units[number])):
            return None
        if voltage and name in preferred:
            return 0, preferred.index(name), number
        tier = 1 if is_lead_ii(name) else 2 if is_ecg(name) else 3 if voltage else None
        return None if tier is None else (tier + 3 * (not voltage), 0, number)

    ranked = [(rank(number), number) for number in range(len(names))]
    return [number for place, number in sorted(one for one in ranked if one[0])]


def find(names: Sequence[str], wanted: str) -> int | None:
    """The signal called `wanted`, else that name in other letters, else the one of that number, from 1 on."""
    folded = [name.casefold() for name in names]
    if wanted in names:
        return names.index(wanted)
    if wanted.casefold() in folded:
        return folded.index(wanted.casefold())
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else 0
    return number - 1 if 1 <= number <= len(names) else None


def label(names: Sequence[str], number: int) -> str:
    """What results call the signal: its name, with its number from 1 on where another one has that name too."""
    name = names[number]
    return name if list(names).count(name) == 1 else f"{name} (signal {number + 1})"
