"""Episodes of a rhythm compared as ANSI/AAMI EC57 asks: how many are found, and how much of their time.

The rules are those of the standard's reference implementation, `epicmp` of the WFDB Software Package, described in its
manual page: an episode lasts from its mark to the next mark of another rhythm, or to the end of the record; the first
minutes are left out; any overlap is a match. Reference flutter is left out of the positive predictivity of
fibrillation alone. Stretches are (start, end) in samples, rising, without overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Stretches = list[tuple[int, int]]

KINDS = {  # of episodes, with the rhythms that belong to each, and those of the reference that say nothing about it
    "AF": (("AFIB",), ("AFL",)),
    "AF or flutter": (("AFIB", "AFL"), ()),
    "VF": (("VF",), ()),
}
RATES = ("episode_se", "episode_ppv", "duration_se", "duration_ppv")


@dataclass(frozen=True)
class Compared:
    """Counts of one kind of episodes: of the reference, found; of the test, right; and how long they last in s."""

    reference: int = 0
    found: int = 0
    test: int = 0
    right: int = 0
    reference_s: float = 0.0
    found_s: float = 0.0
    test_s: float = 0.0
    right_s: float = 0.0

    def __add__(self, other: "Compared") -> "Compared":
        return Compared(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def rates(self) -> dict[str, float | None]:
        """Each of RATES in per cent, None where it is 0/0."""
        pairs = (
            (self.found, self.reference),
            (self.right, self.test),
            (self.found_s, self.reference_s),
            (self.right_s, self.test_s),
        )
        return {name: 100 * (part / whole) if whole else None for name, (part, whole) in zip(RATES, pairs)}


def episodes_of(marks: Sequence[tuple[int, str]], rhythms: Sequence[str], end: int) -> Stretches:
    """The stretches in one of `rhythms` by `marks`, (sample, rhythm) each, rising; the last one lasts to `end`."""
    found: Stretches = []
    start = None
    for sample, rhythm in [*marks, (end, "")]:
        inside = rhythm in rhythms
        if inside and start is None:
            start = sample
        elif start is not None and not inside:
            found.append((start, sample))
            start = None
    return found


def within(stretches: Stretches, start: int, end: int) -> Stretches:
    """What of the stretches lies between `start` and `end`."""
    clipped = [(max(first, start), min(last, end)) for first, last in stretches]
    return [(first, last) for first, last in clipped if first < last]


def shared(stretch: tuple[int, int], others: Stretches) -> int:
    """How many samples of `stretch` lie in the `others`."""
    return sum(last - first for first, last in within(others, *stretch))


def compare(reference: Stretches, test: Stretches, excluded: Stretches, fs_hz: float) -> Compared:
    """Episodes of the reference and of the test; what lies in `excluded` of the reference is not held against the test.

    A test episode that lies in them altogether is not counted.
    """
    lengths = [(one, one[1] - one[0] - shared(one, excluded)) for one in test]
    counted = [(one, length) for one, length in lengths if length > 0]
    found, right = ([shared(one, others) for one in ones] for ones, others in (
        (reference, test), ([one for one, _ in counted], reference),
    ))  # fmt: skip
    return Compared(
        reference=len(reference),
        found=sum(overlap > 0 for overlap in found),
        test=len(counted),
        right=sum(overlap > 0 for overlap in right),
        reference_s=sum(last - first for first, last in reference) / fs_hz,
        found_s=sum(found) / fs_hz,
        test_s=sum(length for _, length in counted) / fs_hz,
        right_s=sum(right) / fs_hz,
    )


def compare_marks(
    reference: Sequence[tuple[int, str]], test: Sequence[tuple[int, str]], fs_hz: float, start: int, end: int
) -> dict[str, Compared]:
    """Each of KINDS by the marks (sample, rhythm) of two files, between the samples `start` and `end`."""
    compared = {}
    for kind, (rhythms, unsaid) in KINDS.items():
        real, told, excluded = (
            within(episodes_of(marks, names, end), start, end)
            for marks, names in ((reference, rhythms), (test, rhythms), (reference, unsaid))
        )
        compared[kind] = compare(real, told, excluded, fs_hz)
    return compared
