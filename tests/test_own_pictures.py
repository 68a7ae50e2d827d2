"""README's commands for pictures and models of one's own, from a zip to a class."""

import json
import re

import pytest
import torch
from archive_files import encode, write_zip
from paths import ROOT
from PIL import Image
from working_copy import SMALL, make_working_copy, run

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
COLOURS = {"daisy": (250, 250, 240), "rose": (200, 20, 60), "violet": (90, 40, 200)}


def flowers(count, seed):
    """Pictures of two sizes, of one colour each and a little of another."""
    made = {}
    for name, colour in COLOURS.items():
        for number in range(count):
            image = Image.new("RGB", (40, 30 + number % 2), colour)
            image.paste((seed, number % 256, 99), (number % 30, 5, number % 30 + 9, 12))
            made[f"{name}/{number}.jpg"] = encode(image, "JPEG")
    return made


@pytest.mark.slow
def test_own_pictures_and_an_own_model_go_all_the_way(tmp_path):
    folder = make_working_copy(tmp_path / "repository")
    name, text = re.search(r"here conf/experiment/(\w+)\.yaml.*?```yaml\n(.*?)```", PAGE,
                           re.S).groups()
    preset = folder / "conf" / "experiment" / f"{name}.yaml"
    preset.write_text(text, encoding="utf-8")
    files = {f"train/{path}": content for path, content in flowers(60, 0).items()} | {
        f"test/{path}": content for path, content in flowers(20, 1).items()}
    write_zip(tmp_path / f"{name}.zip", files)
    variable = re.search(rf"echo '(DATA_SOURCE_\w+)=/data/{name}\.zip'", PAGE)[1]
    (folder / ".env").write_text(f"{variable}={tmp_path / name}.zip\n")
    run(folder, "git", "add", str(preset))
    small = [part for override in (*SMALL, "data.resolution=32", "train.crop_padding=2",
                                   "train.frozen=[conv_stem]", "train.batch_size=16")
             for part in ("-S", override)]
    run(folder, "dvc", "exp", "run", "-S", f"experiment={name}", *small)

    def summary():
        return json.loads((folder / "metrics" / "summary.json").read_text())

    trained = summary()
    assert trained["test_images"] == 60
    (tmp_path / "rose.jpg").write_bytes(files["test/rose/1.jpg"])
    told = json.loads(run(folder, "python", "-m", "stages.predict", str(tmp_path / "rose.jpg"),
                          "--json").stdout)
    assert set(told["probabilities"]) == set(COLOURS)
    state = torch.load(folder / "models" / "checkpoint.pt")["state_dict"]
    torch.save(state, tmp_path / f"{name}.pt")
    command = re.search(rf"dvc exp run -S experiment={name} -S model\.weights=.*?```", PAGE,
                        re.S)[0]
    overrides = re.findall(r"-S '?([^\s']+)'?", command)
    assert overrides[1].startswith("model.weights=")
    overrides[1] = f"model.weights={tmp_path / name}.pt"
    run(folder, "dvc", "exp", "run", *small,
        *(part for override in overrides for part in ("-S", override)))
    assert summary()["variants"]["onnx_fp32"]["accuracy"] == \
        trained["variants"]["onnx_fp32"]["accuracy"]
    again = torch.load(folder / "models" / "checkpoint.pt")["state_dict"]
    assert all(torch.equal(again[key], value) for key, value in state.items())
