"""The list of the records that pretrained networks were trained on, by which `predict` knows them.

It is pretrained/trained_on.json: every lead of the records to train on, known by its samples. Where the databases are
is said as for `reproduce`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from config import Config, with_overrides
from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.networks.trained_on import TRAINED_ON, KnownLead, digest
from deep_ecg.records.database import real_source
from deep_ecg.records.databases import DATABASES, Database, fetched
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.json_files import write_json
from experiments.reproduce import OPEN


def run(options: argparse.Namespace):
    """Writes the list."""
    config = with_overrides(Config(), data_source="local")
    real_source(config)
    known = [asdict(lead) for name in OPEN for lead in leads_of(DATABASES[name], config)]
    print(write_json(PRETRAINED / TRAINED_ON, {"leads": known}))


def leads_of(database: Database, config: Config) -> Iterator[KnownLead]:
    """Every lead of the records of `database` that teach. Raises DeepECGError where it is not at hand."""
    folder = fetched(database, config, database.train)
    labels = database.labels_of_records(folder) if database.labels_file else {}
    for name in (name for name in database.train if not labels or labels[name] in database.all_n):
        file = RecordFile.open(folder / database.path(folder, name))
        for lead, signal_mv in zip(file.leads, file.signals_mv(range(len(file.leads)))):
            yield KnownLead(f"{database.name} {name}", lead, len(signal_mv), digest(signal_mv))
