"""The rules by which a report counts, each limit a setting, and where they are from."""

from dataclasses import dataclass

HRV_TASK_FORCE = "HRV Task Force of ESC and NASPE 1996 (Circulation 93:1043-1065)"
AMBULATORY = "ACC/AHA guidelines for ambulatory electrocardiography 1999 (JACC 34:912-948)"
ISHNE_HRS = "ISHNE-HRS consensus on ambulatory ECG 2017 (Heart Rhythm 14:e55-e96)"
EC57 = "ANSI/AAMI EC57"
BRADYCARDIA = "ACC/AHA/HRS guideline on bradycardia 2018 (Circulation 140:e382-e482)"
SVT = "ACC/AHA/HRS guideline on supraventricular tachycardia 2015 (Circulation 133:e506-e574)"
LOMB = "Clifford and Tarassenko 2005 (IEEE TBME 52:630-638)"


@dataclass(frozen=True)
class Rules:
    """Limits of the measures."""

    rate_beats: int = 8  # RR intervals in a row, over which a heart rate is taken
    longest_rr_s: float = 10.0  # a longer interval is a stretch without beats, and no RR
    pause_s: float = 2.0  # an RR that is longer is a pause
    long_pause_s: float = 3.0  # and such a one is counted apart
    run_beats: int = 3  # ectopic beats of one class in a row: a run
    pattern_beats: int = 3  # single ectopic beats at a regular distance: bigeminy or trigeminy
    brady_per_min: float = 50.0
    tachy_per_min: float = 100.0
    rate_episode_s: float = 10.0  # brady- and tachycardia that last less are not told
    nn_range_s: tuple[float, float] = (0.3, 2.0)  # others between normal beats are no NN: missed or false beats
    least_nn: int = 200
    least_nn_percent: float = 80.0  # of the RR intervals: with fewer, what is left tells little of the sinus node
    segment_s: float = 300.0  # of SDANN, LF and HF
    least_segment_percent: float = 60.0  # of a segment that NN intervals have to fill
    least_segments: int = 2
    pnn_ms: float = 50.0
    lf_hz: tuple[float, float] = (0.04, 0.15)
    hf_hz: tuple[float, float] = (0.15, 0.4)
    rr_bin_ms: int = 20
    most_rr_ms: int = 2000  # the last bin of the histogram holds all longer ones


def written_out(rules: Rules) -> list[dict]:
    """Each rule as a report tells it: its name, its definition with the limits that hold, and its source."""
    low_hz, high_hz = rules.lf_hz, rules.hf_hz
    told = (
        (
            "RR interval",
            f"between two beats that follow one another, at most {rules.longest_rr_s:g} s, with no lost or unreadable "
            "signal between them; all else counts only what such intervals join",
            AMBULATORY,
        ),
        (
            "Heart rate",
            f"mean: RR intervals over their time; lowest and highest: of {rules.rate_beats} RR intervals in a row",
            ISHNE_HRS,
        ),
        (
            "Burden",
            "share of a class in all counted beats; beats in unreadable signal, and those below the least confidence "
            "asked for, are not counted",
            ISHNE_HRS,
        ),
        (
            "Pause",
            f"an RR interval above {rules.pause_s:g} s; those above {rules.long_pause_s:g} s are counted apart. "
            f"Beyond {rules.longest_rr_s:g} s it is a stretch without beats, told with what could not be read",
            f"{AMBULATORY}; {ISHNE_HRS}",
        ),
        (
            "Single, couplet, run",
            f"one, two, {rules.run_beats} or more beats of the class (V or S) in a row; F is neither. Rate of a run: "
            "its own RR intervals over their time",
            f"{EC57}; {AMBULATORY}",
        ),
        (
            "Bigeminy, trigeminy",
            f"{rules.pattern_beats} or more single beats of the class with one (two) N between each and the next; they "
            "are counted among the single ones, too",
            AMBULATORY,
        ),
        (
            "Bradycardia",
            f"{rules.rate_beats} RR intervals in a row below {rules.brady_per_min:g}/min, and all such that overlap; "
            f"{rules.rate_episode_s:g} s or longer",
            BRADYCARDIA,
        ),
        (
            "Tachycardia",
            f"{rules.rate_beats} RR intervals in a row above {rules.tachy_per_min:g}/min, and all such that overlap; "
            f"{rules.rate_episode_s:g} s or longer",
            SVT,
        ),
        (
            "NN interval",
            f"an RR interval between two N beats, {rules.nn_range_s[0]:g} to {rules.nn_range_s[1]:g} s. No HRV is told "
            f"with fewer than {rules.least_nn}, or where they are less than {rules.least_nn_percent:g} % of all RR",
            HRV_TASK_FORCE,
        ),
        (
            "SDNN, RMSSD, pNN50",
            "standard deviation of the NN intervals; root mean square of the differences of NN intervals that follow "
            f"one another; share of these differences above {rules.pnn_ms:g} ms",
            HRV_TASK_FORCE,
        ),
        (
            "SDANN",
            f"standard deviation of the mean NN of segments of {rules.segment_s:g} s, of which NN intervals fill "
            f"{rules.least_segment_percent:g} %; none with fewer than {rules.least_segments} such segments",
            HRV_TASK_FORCE,
        ),
        (
            "LF, HF",
            f"power of the NN intervals at {low_hz[0]:g}-{low_hz[1]:g} and {high_hz[0]:g}-{high_hz[1]:g} Hz: Lomb's "
            "periodogram of each such segment without its linear trend, which needs no beats in the place of ectopic "
            "ones, mean of the segments",
            f"{HRV_TASK_FORCE}; {LOMB}",
        ),
    )
    return [{"name": name, "rule": rule, "source": source} for name, rule, source in told]
