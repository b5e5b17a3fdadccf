"""Settings: what is refused and how, what overrides what, and what the two presets promise."""

from dataclasses import FrozenInstanceError, replace

import pytest

from config import DATA_DIR_VARIABLE, DATA_SOURCES, MODES, PRESETS, TEMPERATURES, Config, with_overrides
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import hybrid_arguments
from model import HybridECGNet

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "name, value",
    [
        ("mode", "realtime"),
        ("mode", None),
        ("preset", "huge"),
        ("data_source", "web"),
        ("seeds", ()),
        ("seeds", 0),  # seeds = (0) lacks its comma
        ("seeds", (0, 0)),
        ("seeds", (-1,)),
        ("seeds", (2**32,)),
        ("seeds", (0.5,)),
        ("seeds", (True,)),
        ("data_dir", None),
        ("data_dir", ""),
        ("svdb_dir", " "),
        ("cache_dir", ""),
        ("lead", ""),
        ("physionet_url", 7),
        ("lead", 1),
        ("other_leads", "V5"),
        ("other_leads", ("V5", 2)),
        ("annotation_extension", ""),
        ("annotation_extension", "../atr"),
        ("annotation_classes", ("N", "S")),
        ("train_records", "100"),
        ("test_records", (100,)),
        ("synthetic_minutes", 0.5),
        ("synthetic_minutes", INFINITE),
        ("runs_dir", None),
        ("cache_dir", 3),
        ("fs_hz", 0.0),
        ("fs_hz", -360.0),
        ("fs_hz", NAN),
        ("band_hz", (0.0, 50.0)),
        ("band_hz", (50.0, 0.5)),
        ("band_hz", (0.5, 180.0)),
        ("band_hz", (0.5,)),
        ("band_hz", 0.5),
        ("band_hz", ("0.5", "50")),
        ("filter_order", 0),
        ("filter_order", 2.5),
        ("window_samples", 281),
        ("window_samples", 56),
        ("window_samples", 280.0),
        ("look_ahead_ms", -1.0),
        ("look_ahead_ms", 389.0),  # half of 280 samples at 360 Hz last 388.9 ms
        ("epochs", -1),
        ("epochs", 2.5),
        ("focal_gamma", -0.1),
        ("focal_gamma", NAN),
        ("replays", -1),
        ("replays", 1.5),
        ("record_shares", (1.0, 1.0, 1.0, 1.0)),
        ("record_shares", (0.5, 1.0, 1.0, 1.0, 1.01)),
        ("record_shares", 0.5),
        ("replay_shares", (0.1, 0.1, 0.1, 0.1, -0.01)),
        ("replay_shares", (0.1, 0.1, 0.1, 0.1, NAN)),
        ("replay_shares", ()),
        ("batch_size", 1),
        ("batch_size", "256"),
        ("weight_decay", -1e-3),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("validation_share", 0.0),
        ("validation_share", 1.1),
        ("device", "gpu"),
        ("threads", -1),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name_in_one_line(name, value):
    with pytest.raises(DeepECGError) as refusal:
        Config(**{name: value})
    message = str(refusal.value)
    assert f"setting {name} = {value!r}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "change, named",
    [
        ({"train_records": ()}, "train_records cannot be used: is empty"),
        ({"test_records": ()}, "test_records cannot be used: is empty"),
        ({"test_records": ("100", "103", "100")}, "test_records cannot be used: '100' stands twice"),
        ({"test_records": ("100", "../101")}, "'../101' is no name of a record"),
        ({"test_records": ("/data/a",)}, "'/data/a' is no name of a record"),
        ({"test_records": ("100", "118")}, "'118' is in train_records too"),
        ({"validation_records": ("100",)}, "validation_records cannot be used: name some of train_records"),
        ({"train_records": ("101", "106")}, "validation_records cannot be used: name some of train_records"),
        ({"train_records": ("118",), "validation_records": ("118",)}, "but not all"),
        ({"annotation_classes": (("N", "N"), ("X", "V"))}, "class 'X' is unknown: use N, S, V, F, Q"),
        ({"annotation_classes": (("N", "N B"), ("V", "V B"))}, "symbol 'B' stands twice"),
        ({"annotation_classes": (("N", "N", "L"),)}, "pairs"),
        ({"annotation_classes": (("N", ""),)}, "names no symbol"),
        ({"annotation_classes": ()}, "names no symbol"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_in_one_line(change, named):
    with pytest.raises(DeepECGError) as refusal:
        Config(**change)
    assert named in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_database_is_mit_bih_unless_the_settings_say_otherwise():
    """The division of de Chazal et al. 2004, without the four paced records."""
    config = Config()
    assert len(config.train_records) == len(config.test_records) == 22
    assert not {"102", "104", "107", "217"} & {*config.train_records, *config.test_records}
    assert config.aami["e"] == "N" and config.aami["a"] == "S" and config.aami["f"] == "Q" and len(config.aami) == 19
    assert config.leads == ("MLII",) and config.annotation_extension == "atr"


def test_an_unknown_choice_names_the_ones_there_are():
    for name, allowed in (("mode", MODES), ("preset", PRESETS), ("data_source", DATA_SOURCES)):
        with pytest.raises(DeepECGError) as refusal:
            Config(**{name: "other"})
        assert all(choice in str(refusal.value) for choice in allowed)


def test_whole_numbers_serve_where_fractions_do():
    assert Config(synthetic_minutes=1, fs_hz=360, band_hz=(1, 40)).band_hz == (1, 40)


def test_no_replays_and_shares_of_nothing_and_of_all_can_be_asked_for():
    assert Config(replays=0, record_shares=(1,) * 5, replay_shares=(0,) * 5).record_shares == (1, 1, 1, 1, 1)


def test_epochs_are_those_of_the_preset_unless_they_are_set():
    assert Config(preset="full").model.epochs == 4 and Config(preset="edge").model.epochs == 8
    assert Config(preset="edge", epochs=3).model == replace(PRESETS["edge"], epochs=3)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        Config().mode = "causal"


def test_the_environment_variable_goes_before_data_dir(monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, "/data/elsewhere")
    assert str(Config(data_dir="here").data_folder) == "/data/elsewhere"


def test_without_an_environment_variable_or_with_an_empty_one_data_dir_holds(monkeypatch):
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    assert str(Config(data_dir="here").data_folder) == "here"
    monkeypatch.setenv(DATA_DIR_VARIABLE, "")
    assert str(Config(data_dir="here").data_folder) == "here"


def test_overrides_replace_what_they_name_and_none_leaves_it():
    base = Config(mode="causal", seeds=(3,))
    changed = with_overrides(base, preset="edge", mode=None, seeds=(1, 2))
    assert (changed.mode, changed.preset, changed.seeds) == ("causal", "edge", (1, 2))
    assert (base.preset, base.seeds) == ("full", (3,))


def test_an_unknown_override_is_refused_by_name_even_when_it_is_none():
    for value in ("x", None):
        with pytest.raises(DeepECGError, match="'learning_rat'"):
            with_overrides(Config(), learning_rat=value)


def test_an_override_is_checked_like_a_setting():
    with pytest.raises(DeepECGError, match="mode = 'future'"):
        with_overrides(Config(), mode="future")


@pytest.mark.parametrize(
    "settings, samples",
    [
        ({"mode": "diagnostic"}, 140),  # half of 280, whatever the look-ahead
        ({"mode": "diagnostic", "look_ahead_ms": 60.0}, 140),
        ({"mode": "causal"}, 54),  # 150 ms at 360 Hz
        ({"mode": "causal", "look_ahead_ms": 0.0}, 0),
        ({"mode": "causal", "fs_hz": 250.0, "look_ahead_ms": 100.0}, 25),
    ],
)
def test_look_ahead_in_samples(settings, samples):
    assert Config(**settings).look_ahead_samples == samples


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("preset, least, most", [("full", 1_150_000, 1_300_000), ("edge", 1, 15_000)])
def test_parameters_of_the_presets(mode, preset, least, most):
    network = HybridECGNet(**hybrid_arguments(Config(mode=mode, preset=preset)))
    assert least <= sum(parameter.numel() for parameter in network.parameters()) <= most


def test_every_mode_and_preset_has_a_temperature():
    for mode in MODES:
        for preset in PRESETS:
            assert 0 < Config(mode=mode, preset=preset).temperature == TEMPERATURES[mode, preset]
