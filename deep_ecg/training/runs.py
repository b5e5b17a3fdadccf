"""All trainings of one run of `main.py`: a network a seed, and one more that shows how it generalises."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from joblib import delayed

from config import Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.records.database import Source
from deep_ecg.scoring.report import int8_line, render_markdown, results_table, seed_line
from deep_ecg.scoring.seeds import median_seed, over_seeds
from deep_ecg.system import console
from deep_ecg.system.files import write_text
from deep_ecg.system.json_files import write_json
from deep_ecg.system.machine import peak_rss_mb
from deep_ecg.system.progress import repeated
from deep_ecg.system.workers import Run
from deep_ecg.training import processes
from deep_ecg.training.experiment import STATES, Trained, assess, train

# The beats to train on, their replays, and those of other databases, in any process
Load = Callable[[], tuple[Beats, Beats | None, list[Beats]]]


def train_all(
    config: Config, source: Source, load: Load, folder: Path, fresh: bool = False, workers: Run | None = None
) -> list[Trained]:
    """Trains every seed, and the first once more without the validation patients, to see it generalise.

    That one shows `config.validation_share` of the beats: it is for its curve alone. Side by side by `workers`, one
    thread each, in folders of their own, or one after the other where processes share each of them; goes on from an
    interrupted training unless the user wants it afresh. The first result is that of the validation.
    """
    first, unseen = config.seeds[0], config.validation_records
    jobs = [(first, folder / "validation" / f"seed-{first}", f"without {', '.join(unseen)}", unseen)]
    jobs += [(seed, folder / f"seed-{seed}", f"seed {seed}", ()) for seed in config.seeds]
    for _, own, title, _ in jobs:
        states = [own / name for name in STATES if (own / name).exists()]
        if processes.is_first() and states and not _goes_on(states[-1], fresh):
            _remove_states(own)
        print(f"      {title} -> {own}", flush=True)
    if processes.size() > 1 or workers is None:
        return [train_one(config, source, load, *job) for job in jobs]
    return list(workers(delayed(train_one)(config, source, load, *job) for job in jobs))


def _goes_on(state: Path, fresh: bool) -> bool:
    """Whether to go on from the interrupted training in `state`."""
    return not fresh and (not console.interactive() or console.ask(f"Go on from {state}?"))


def _remove_states(folder: Path):
    for name in STATES:
        (folder / name).unlink(missing_ok=True)


def train_one(
    config: Config, source: Source, load: Load, seed: int, folder: Path, title: str, held_out: Sequence[str]
) -> Trained:
    """One training, perhaps in a process of its own; its lines begin with `title`."""

    def say(line: str):
        print(f"      {title}: {line}", flush=True)

    with repeated(lambda: say("reading its beats")):
        beats, replays, others = load()
    share = config.validation_share if held_out else 1.0
    return train(config, source, beats, replays, seed, folder, say=say, held_out=held_out, others=others, share=share)


def assess_all(
    trained: Sequence[Trained], validation: Trained, config: Config, source: Source, ds1: Beats, ds2: Beats
) -> tuple[list[dict], list[np.ndarray], int]:
    """The report of each network on DS2, its probabilities (beats, 5), and which of them is the median one."""
    reports, probas = [], []
    for network in trained:
        report, proba = assess(network, config, source, ds1, ds2)
        print(f"      {seed_line(report)}", flush=True)
        reports.append(report | {"validation": validation.history.epochs})
        probas.append(proba)
    return reports, probas, median_seed(reports)


def finish(folder: Path, trained: Sequence[Trained], reports: list[dict], shown: int, timings_s: dict) -> dict:
    """Writes report.json and report.md of the seed shown with the spread over all seeds, and prints the summary.

    Nothing is left to go on from: `trained` are all networks of the run. Returns the report.
    """
    report = reports[shown]
    report |= {
        "seeds": [one["seed"] for one in reports],
        "over_seeds": over_seeds(reports),
        "timings_s": timings_s,
        "peak_rss_mb": peak_rss_mb(),
    }
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", render_markdown(report))
    for network in trained:
        _remove_states(network.folder)
    print(f"\n{results_table(report)}\n")
    print(f"int8: {int8_line(report['int8'])}")
    print(f"{timings_s['total']:.0f} s in all, {report['peak_rss_mb']:.0f} MB at the most\n")
    print(f"report       {folder / 'report.md'}, {folder / 'report.json'}")
    print(f"figures      {folder / 'images'}")
    print(f"checkpoint   {trained[shown].folder / 'checkpoint.pt'} and model_int8.pt beside it")
    return report
