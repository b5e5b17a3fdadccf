"""Leads by name and unit, as recorders, standards and conversions call them."""

import pytest

from deep_ecg.records import leads

LEAD_II = [
    "II", "MLII", "mlii", "DII", "ML2", "D2", "L2", "lead ii", "Lead 2", "ECG II", "ECG_II", "ECGII", "EKG-II", "II+",
    "ECG lead II", "MDC_ECG_LEAD_II", "II (filtered)", "\u2161",
]  # fmt: skip
ECG = [
    "I", "III", "DI", "DIII", "V", "V1", "V5", "V6", "V3R", "aVF", "AVL+", "-aVR", "MV2", "MV5", "CM5", "CC5", "MCL1",
    "mod. V1", "ECG", "ECG1", "ECG 2", "ECG lead I", "E-S", "A-I", "X", "vx", "D3", "MDC_ECG_LEAD_V1",
]  # fmt: skip
NO_ECG = [
    "RESP", "RESP1", "Resp nasal", "PLETH", "PPG", "ABP", "ABP Mean", "ART", "CVP", "PAP", "EEG", "EEG (C4-A1)",
    "EEG Fpz-Cz", "C4-A1", "Fp1", "O2", "EOG", "EOG horizontal", "EMG", "SCG", "SpO2", "SaO2", "Temp", "HR", "CO2",
    "Airflow",
    "MDC_TTHOR_RESP_RATE", "MDC_ECG_HEART_RATE", "MDC_PRESS_BLD_ART_ABP",
]  # fmt: skip
UNNAMED = ["signal 1", "ch1", "channel 2", "CH 2", "data", "record 100, signal 0"]


@pytest.mark.parametrize(
    "names, second, ecg, other",
    [(LEAD_II, True, True, False), (ECG, False, True, False), (NO_ECG, False, False, True), (UNNAMED,) + (False,) * 3],
    ids=["lead II", "other leads", "no ECG", "names that say nothing"],
)
def test_what_a_name_says(names, second, ecg, other):
    for name in names:
        assert (leads.is_lead_ii(name), leads.is_ecg(name), leads.is_no_ecg(name)) == (second, ecg, other), name


@pytest.mark.parametrize(
    "unit, scale",
    [
        ("mV", 1.0), ("MV", 1.0), ("millivolts", 1.0), ("V", 1e3), ("Volt", 1e3), ("nV", 1e-6), ("uV", 1e-3),
        ("\u00b5V", 1e-3), ("\u03bcV", 1e-3), ("\u00c2\u00b5V", 1e-3), ("\ufffdV", 1e-3), ("microvolt", 1e-3),
        ("mmHg", None), ("NU", None), ("%", None), ("degC", None), ("g", None), ("bpm", None), ("adu", None),
        ("", None), ("10 uV", 1e-2), ("0,5mV", 0.5), ("0 mV", None), ("1e3 uV", None),
    ],
)  # fmt: skip
def test_units_of_voltage(unit, scale):
    assert leads.in_millivolts(unit) == scale
    assert leads.is_unknown_unit(unit) == (unit in ("adu", ""))


@pytest.mark.parametrize(
    "names, units, order",
    [
        (["RESP", "ECG"], ["mV", "mV"], [1]),
        (["PLETH", "V"], ["mV", "mV"], [1]),
        (["V5", "MLII"], ["mV", "mV"], [1, 0]),
        (["V5", "II"], ["mV", "\u00b5V"], [1, 0]),
        (["DI", "DII"], ["mV", "mV"], [1, 0]),
        (["ch1", "V1", "DII"], ["mV"] * 3, [2, 1, 0]),
        (["II", "V1"], ["NU", "mV"], [1]),
        (["II", "ch1"], ["adu", "mV"], [1, 0]),
        (["ch1", "ch2"], ["adu", "mmHg"], []),
        (["ABP", "SpO2"], ["mmHg", "%"], []),
    ],
)
def test_which_signals_can_be_taken_unasked(names, units, order):
    assert leads.candidates(names, units, ["MLII"]) == order


@pytest.mark.parametrize(
    "wanted, number",
    [("V1", 0), ("v1", 0), ("MLII", 1), ("2", 2), ("3", 2), ("1", 0), ("4", 3), ("5", None), ("0", None)],
)
def test_a_lead_is_found_by_name_or_number(wanted, number):
    """A signal whose name is "2" goes before the second one."""
    assert leads.find(["V1", "MLII", "2", "ECG"], wanted) == number


def test_twins_are_told_apart_by_their_numbers():
    assert [leads.label(["ECG", "V", "ECG"], number) for number in range(3)] == [
        "ECG (signal 1)",
        "V",
        "ECG (signal 3)",
    ]
