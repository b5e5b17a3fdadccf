"""The paper that ECGs are drawn on: 25 mm to the second, 10 to the millivolt, a stronger line every five."""

MM_S, MM_MV = 25.0, 10.0
SQUARE_MM = 5  # between the stronger lines
MOST_TRACE_MM = 60.0  # a higher one has its gain halved


def gain_for(span_mv: float, most_mm: float = MOST_TRACE_MM) -> float:
    """Millimetres a millivolt: MM_MV, halved until `span_mv` is no higher than `most_mm`."""
    gain = MM_MV
    while gain * span_mv > most_mm:
        gain /= 2
    return gain
