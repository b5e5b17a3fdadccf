"""Fixtures of the tests of figures."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@pytest.fixture
def saved(monkeypatch) -> list[Figure]:
    """The figures that were written, in order."""
    kept, savefig = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        kept.append(figure)
        savefig(figure, *args, **kwargs)
        FigureCanvasAgg(figure)  # measures text boxes

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept
