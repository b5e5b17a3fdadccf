"""Numbers and tables as text, for the console and for Markdown."""

from collections.abc import Iterable, Sequence

UNDEFINED = "-"
SYNTHETIC_LINE = "SYNTHETIC data: made-up signals; these figures say nothing about real ECGs."


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as per cent without the sign, "-" for None."""
    return UNDEFINED if fraction is None else f"{100 * fraction:.{digits}f}"


def number(value: float | None, pattern: str = ",") -> str:
    """A number in the format `pattern`, "-" for None."""
    return UNDEFINED if value is None else format(value, pattern)


def count_of(count: int, noun: str) -> str:
    """So many of what `noun` names: "1 beat", "2,273 beats"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def clock(seconds: float) -> str:
    """`seconds` as h:mm:ss."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def mean_sd_text(stat: dict | None, seeds: int, scale: float = 100.0, digits: int = 1) -> str:
    """A spread {"mean", "sd", "n"} as "mean ± sd", scaled (to per cent by default); "-" where there is no mean.

    Where n is below the number of `seeds`, the text says so.
    """
    if not stat or stat["mean"] is None:
        return UNDEFINED
    text = f"{scale * stat['mean']:.{digits}f}"
    if stat["sd"] is not None:
        text += f" ± {scale * stat['sd']:.{digits}f}"
    return text if stat.get("n", seeds) == seeds else f"{text} ({stat['n']} of {seeds} seeds)"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table whose first column is text and whose others are numbers."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|"
    return [line(header), rule, *(line(row) for row in rows)]
