"""The list of the records that pretrained networks were trained on, by which `predict` knows them.

It is pretrained/trained_on.json: every lead of the records to train on, known by its samples.
"""

import argparse
from dataclasses import asdict

from config import Config
from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.networks.trained_on import TRAINED_ON, KnownLead, digest
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.json_files import write_json

DATABASE = "MIT-BIH"


def run(options: argparse.Namespace):
    """Writes the list."""
    config = Config()
    folder, known = real_source(config).folder, []
    for name in config.train_records:
        file = RecordFile.open(folder / name)
        for lead, signal_mv in zip(file.leads, file.signals_mv(range(len(file.leads)))):
            known.append(asdict(KnownLead(f"{DATABASE} {name}", lead, len(signal_mv), digest(signal_mv))))
    print(write_json(PRETRAINED / TRAINED_ON, {"leads": known}))
