"""A Transformer in the place of the convolutions, and its benchmark against the hybrid network.

`python experimental_transformer.py` trains it and both presets of the hybrid on the same beats with the same loss,
schedule and engine, and writes the table that compares accuracy, PVC recall, S F1, size, training time and latency
to runs/transformer-MODE/.
"""

import deep_ecg.requirements  # noqa: F401  # isort: skip - first: it says in one line what is missing

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import MODES, Config, with_overrides
from data_loader import load_beats, load_replays
from deep_ecg.records.database import Source, ingest
from deep_ecg.scoring.figures import benchmark_figure
from deep_ecg.system import console, machine
from deep_ecg.system.files import write_text
from deep_ecg.system.json_files import write_json
from deep_ecg.system.text import markdown_table
from deep_ecg.training import experiment
from deep_ecg.training.engine import TRAINING_THREADS
from model import FeatureMLP, HybridECGNet, classifier_head
from quantize import int8_report


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762), in linear layers that quantize."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (batch, length, width) -> the same shape."""
        batch, length, width = tokens.shape
        projected = self.project_in(tokens).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, width / heads)
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return self.project_out(mixed.transpose(1, 2).reshape(batch, length, width))


class EncoderLayer(nn.Module):
    """Attention and a two-layer MLP, each normalised first and added to its input."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), SelfAttention(width, heads, dropout), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (batch, length, width) -> the same shape."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.mlp(tokens)


class ECGTransformer(nn.Module):
    """A self-attention encoder over patches of the window, joined with the features as in the hybrid network."""

    def __init__(
        self,
        feature_count: int,
        patch_samples: int = 10,
        width: int = 64,
        heads: int = 4,
        layers: int = 3,
        feature_hidden: int = 32,
        dropout: float = 0.3,
        window_samples: int = 280,
        input_channels: int = 1,
        classes: int = 5,
    ):
        super().__init__()
        self.patch_samples = patch_samples
        self.embed = nn.Linear(patch_samples * input_channels, width)
        self.position = nn.Parameter(0.02 * torch.randn(window_samples // patch_samples, width))
        self.encoder = nn.Sequential(*(EncoderLayer(width, heads, dropout / 3) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.features = FeatureMLP(feature_count, feature_hidden)
        self.head = classifier_head(width + feature_hidden, width, classes, dropout)

    def forward(self, windows: Tensor, features: Tensor) -> Tensor:
        """Windows (batch, channels, window_samples), features (batch, feature_count) -> logits (batch, classes)."""
        patches = windows.unfold(2, self.patch_samples, self.patch_samples)  # (batch, channels, patches, samples)
        tokens = self.embed(patches.transpose(1, 2).flatten(2)) + self.position  # (batch, patches, width)
        pooled = self.norm(self.encoder(tokens)).amax(dim=1)
        return self.head(torch.cat([pooled, self.features(features)], dim=1))


def contenders(config: Config) -> list[tuple[str, Config, type[nn.Module], dict]]:
    """Name, settings, class and constructor arguments of the networks compared."""
    full, edge = with_overrides(config, preset="full"), with_overrides(config, preset="edge")
    inputs = ("feature_count", "window_samples", "input_channels", "dropout")
    transformer = {name: experiment.hybrid_arguments(full)[name] for name in inputs}
    return [
        ("hybrid, full", full, HybridECGNet, experiment.hybrid_arguments(full)),
        ("hybrid, edge", edge, HybridECGNet, experiment.hybrid_arguments(edge)),
        ("Transformer", full, ECGTransformer, transformer),
    ]


def benchmark(config: Config, folder: Path | None = None) -> dict:
    """Trains and assesses every contender with the first seed; writes benchmark.json, .md and .png into `folder`.

    All are trained before DS2 is opened. Returns what benchmark.json holds.
    """
    progress, seed = console.interactive(), config.seeds[0]
    source = ingest(config, progress)
    folder = folder or Path(config.runs_dir) / f"transformer-{config.mode}{'-SYNTHETIC' * source.synthetic}"
    ds1 = load_beats(source, config.train_records, config, progress)
    replays = load_replays(source, config.train_records, config, progress) if config.replays else None
    trained = []
    for name, settings, network, arguments in contenders(config):
        print(f"\nTrain: {name}", flush=True)
        own = folder / name.replace(", ", "-")
        trained.append(experiment.train(settings, source, ds1, replays, seed, own, network, arguments))
    ds2 = load_beats(source, config.test_records, config, progress)
    rows = []
    for (name, settings, _, _), done in zip(contenders(config), trained):
        report, _ = experiment.assess(done, settings, source, ds1, ds2)
        rows.append(_row(name, report, int8_report(done, ds2, report)))
        (done.folder / "resume.pt").unlink(missing_ok=True)
    return _write(folder, config, source, rows)


def _row(name: str, report: dict, int8: dict) -> dict:
    scores = report["ds2"]
    return {
        "name": name,
        "accuracy": scores["accuracy"],
        "v_se": scores["per_class"]["V"]["se"],
        "v_f1": scores["per_class"]["V"]["f1"],
        "s_f1": scores["per_class"]["S"]["f1"],
        "parameters": report["parameters"],
        "int8_bytes": int8["int8_bytes"],
        "train_s": report["training"]["seconds"],
        "latency_us": int8["fp32_latency_us"],
    }


def _write(folder: Path, config: Config, source: Source, rows: list[dict]) -> dict:
    result = {
        "data_source": source.name,
        "mode": config.mode,
        "seed": config.seeds[0],
        "versions": machine.versions(),
        "threads": TRAINING_THREADS,
        "rows": rows,
    }
    write_json(folder / "benchmark.json", result)
    write_text(folder / "benchmark.md", benchmark_table(result) + "\n")
    benchmark_figure(folder / "benchmark.png", rows, source.synthetic)
    print(f"\n{benchmark_table(result)}\n\nwritten to {folder}/benchmark.json, .md and .png")
    return result


def benchmark_table(result: dict) -> str:
    """The benchmark as a Markdown table, stamped where the data are synthetic."""
    header = ["network", "accuracy", "PVC Se", "V F1", "S F1", "parameters", "int8 bytes", "training", "latency"]
    body = [
        [row["name"], *(f"{100 * (row[key] or 0):.1f} %" for key in ("accuracy", "v_se", "v_f1", "s_f1"))]
        + [f"{row['parameters']:,}", f"{row['int8_bytes']:,}", f"{row['train_s']:.0f} s", f"{row['latency_us']:.0f} µs"]
        for row in result["rows"]
    ]
    stamp = ["SYNTHETIC data", ""] if result["data_source"] == "synthetic" else []
    return "\n".join(stamp + markdown_table(header, body))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status, see `console.exit_status`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, help="as in main.py")
    options = vars(parser.parse_args(arguments))
    return console.exit_status(lambda: benchmark(with_overrides(Config(), **options)), console.GOES_ON)


if __name__ == "__main__":
    sys.exit(main())
