import pytest
import torch
from paths import ROOT
from synthetic import Malicious

from stages.model.checkpoint import save_torch
from stages.training.resume import (
    FOLDER,
    STATE_KEYS,
    discard_state,
    fingerprint,
    load_state,
    loaded_code,
    save_state,
    state_file,
)

STATE = {**dict.fromkeys(STATE_KEYS), "epoch": 1}


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the state of "run" is kept."""
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir()
    return state_file("run")


def test_comes_back_as_it_was(path):
    save_state("run", {**STATE, "epoch": 3, "model": {"weight": torch.arange(4.0)}})
    state = load_state("run")
    assert state["epoch"] == 3
    assert torch.equal(state["model"]["weight"], torch.arange(4.0))


def test_later_state_replaces_the_earlier(path):
    for epoch in (1, 2):
        save_state("run", {**STATE, "epoch": epoch})
    assert load_state("run")["epoch"] == 2
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_nothing_there(path):
    assert load_state("run") is None


def test_state_of_another_run(path, caplog):
    caplog.set_level("INFO")
    save_state("run", STATE)
    assert load_state("another") is None
    save_state("another", {**STATE, "epoch": 5})
    assert f"{path}: is of other parameters, data or code" in caplog.text
    assert [load_state(name)["epoch"] for name in ("run", "another")] == [1, 5]
    for _ in range(2):  # what is gone needs no discarding
        discard_state("another")
        assert (load_state("another"), load_state("run")["epoch"]) == (None, 1)


@pytest.mark.parametrize("content", [b"", b"text", "half"])
def test_damaged_state(path, caplog, content):
    save_state("run", STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2] if content == "half" else content)
    assert load_state("run") is None
    assert "damaged; training starts anew" in caplog.text


@pytest.mark.parametrize("content", [[1, 2, 3], {"epoch": 1}, {"run": "run", "epoch": 1},
                                     {"run": "run", **STATE, "more": 1},
                                     {"run": "another", **STATE}])
def test_something_else_in_the_file(path, caplog, content):
    save_torch(path, content)
    assert load_state("run") is None
    assert "damaged; training starts anew" in caplog.text


def test_tampered_state_runs_no_code(path, tmp_path):
    save_torch(path, {"run": "run", "epoch": Malicious(tmp_path / "witness")})
    assert load_state("run") is None
    assert not (tmp_path / "witness").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "witness").exists(), "the file would not have run anything anyhow"


def test_fingerprint_follows_parameters_and_every_file(tmp_path):
    files = {}
    for name, content in (("splits", "[1, 2]"), ("other splits", "[1, 3]"), ("images", "a"),
                          ("other images", "b")):
        files[name] = tmp_path / name
        files[name].write_text(content)
    runs = [("lr: 1", "splits", "images"), ("lr: 2", "splits", "images"),
            ("lr: 1", "other splits", "images"), ("lr: 1", "splits", "other images")]
    names = [fingerprint(params, *(files[key] for key in keys)) for params, *keys in runs]
    assert len(set(names)) == len(runs)
    assert fingerprint("lr: 1", files["splits"], files["images"]) == names[0]


@pytest.mark.parametrize("library", ["torch", "torchvision", "timm", "accelerate"])
def test_another_version_of_a_library_names_another_run(monkeypatch, library):
    before = fingerprint("lr: 1")
    monkeypatch.setattr(f"{library}.__version__", "0.0")
    assert fingerprint("lr: 1") != before


def test_code_that_runs_is_part_of_what_names_a_run():
    names = {path.relative_to(ROOT).as_posix() for path in loaded_code()}
    assert {"stages/training/resume.py", "stages/config/errors.py"} <= names
    assert not any(name.startswith("tests/") for name in names)
