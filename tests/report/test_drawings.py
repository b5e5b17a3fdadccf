"""The drawings: what stands on a strip, and where."""

import re

import numpy as np

from deep_ecg.report.drawings import strip_svg
from deep_ecg.report.recording import Recording, Reference
from deep_ecg.report.strips import STRIP_S

TRUST = {"grade": "high", "expected_wrong_percent": 1.0, "reasons": []}


def test_letters_at_the_ends_of_a_strip_stand_on_the_paper(beats):
    """Beats at 1, 1.5, ... s: the strip from 1 s on begins with one, at 0 mm, and ends just before another.

    A letter is 3 mm wide at most.
    """
    series = beats("NV" * 30, 500)
    signal_mv = np.sin(np.arange(series.length) / 50)
    reference = Reference(series.samples, series.labels, "r.atr")
    recording = Recording("r", "II", series, signal_mv, TRUST, "a network", reference=reference)
    svg = strip_svg(recording, 1.0)
    for kind in ("beat c-.", "ref"):
        at_mm = [float(x) for x in re.findall(rf'<text x="([0-9.]+)" y="[0-9.]+" class="{kind}"', svg)]
        assert len(at_mm) == np.ceil(STRIP_S / 0.5)
        assert min(at_mm) == 1.6 and max(at_mm) <= 25 * STRIP_S - 1.5
        assert np.allclose(np.diff(at_mm)[1:-1], 12.5)
