"""The report of one record: its figures, NAME-events.csv, and the page NAME.html."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deep_ecg.report.episodes import Episode, episodes_of, write_episodes
from deep_ecg.report.measures import measures_of
from deep_ecg.report.recording import Recording
from deep_ecg.report.shapes import REST, Shape, as_json, shapes_of
from deep_ecg.system.files import write_text


@dataclass(frozen=True)
class Report:
    """A `recording` with all that is told of it; `measures` is what NAME.json holds.

    `shape_of_beat` (beats,) says which of `shapes` a beat is of, REST for none.
    """

    recording: Recording
    measures: dict
    episodes: list[Episode]
    shapes: list[Shape]
    shape_of_beat: np.ndarray

    @classmethod
    def of(cls, recording: Recording) -> "Report":
        """The report of `recording`."""
        series = recording.series
        shapes: list[Shape] = []
        shape_of_beat, episodes = np.full(len(series), REST), episodes_of(series)
        if recording.groups is not None and len(series):
            shapes, shape_of_beat = shapes_of(series, recording.shown_mv, recording.groups, recording.leads)
        measures = measures_of(series, episodes) | {"shapes": as_json(shapes)}
        return cls(recording, measures, episodes, shapes, shape_of_beat)

    def html(self) -> str:
        """The page."""
        from deep_ecg.report.page import report_page  # with jinja2, which no other result needs

        return report_page(self.recording, self.measures, self.episodes, self.shapes)

    def write(self, page: Path, events: Path) -> list[Path]:
        """Writes the page and the table of episodes; returns the files."""
        write_episodes(events, self.episodes, self.recording.series)
        write_text(page, self.html())
        return [page, events]
