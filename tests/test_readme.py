"""README.md says what is so."""

import re
import shutil
import subprocess

import pytest
import yaml
from paths import ROOT

from stages.config.compose import compose
from stages.config.params import PARAMS_FILE, load_params
from stages.files.reading import read_json
from stages.model.build import build_model
from stages.publish import COLLAPSE, METRICS, RESULTS, table_of
from stages.reporting.tables import recipe_table
from stages.training.freeze import freeze

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
RUNS = sorted(path.parent.name for path in (ROOT / RESULTS).glob("*/summary.json"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def block(page, name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.S)[1].strip()


def test_result_table_is_made_from_the_metrics():
    assert block(PAGE, "results") == table_of(ROOT / METRICS).strip()


def test_table_of_the_collapse_is_made_from_the_metrics():
    page = (ROOT / COLLAPSE).read_text(encoding="utf-8")
    assert block(page, "collapse") == recipe_table(
        read_json(ROOT / METRICS / "analysis.json")).strip()


@pytest.mark.parametrize("name", RUNS)
def test_table_of_a_published_run_is_made_from_its_metrics(name):
    table = table_of(ROOT / RESULTS / name).strip()
    assert f"results {name} -->" not in PAGE or block(PAGE, f"results {name}") == table
    assert table in (ROOT / RESULTS / name / "README.md").read_text(encoding="utf-8")


def test_published_cifar10_run_is_there():
    assert "cifar10" in RUNS
    assert "<!-- results cifar10_vnni -->" in PAGE


@pytest.mark.parametrize(("changed", "old", "new"), [
    ("int8_mine", "int8_static", ["int8_static", "int8_mine"]), ("int8_qat/d", "int8_qat", [])])
def test_a_variant_is_added_and_removed_by_the_commands_told(tmp_path, changed, old, new):
    """Each file of the variant `old` becomes those of `new`, and so does its name in lists."""
    page = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
    command = next(found for found in re.findall(r"sed -i\.before -E '.+' dvc\.yaml", page)
                   if changed.partition("/")[0] in found)
    before = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text(before, encoding="utf-8")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text(encoding="utf-8"))
    expected = yaml.safe_load(before)
    assert stages == replaced(expected, old, new)


def replaced(node, old, new):
    """`node` with every string in a list that names `old` replaced by those of `new`."""
    if isinstance(node, dict):
        return {key: replaced(value, old, new) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    result = []
    for item in node:
        named = isinstance(item, str) and re.search(rf"\b{old}\b", item)
        nested = isinstance(item, dict) and len(item) == 1 and re.search(
            rf"\b{old}\b", next(iter(item)))
        if named or nested:
            key = item if named else next(iter(item))
            made = [re.sub(rf"\b{old}\b", name, key) for name in new]
            result += made if named else [{name: item[key]} for name in made]
        else:
            result.append(replaced(item, old, new))
    return result


def test_every_target_named_is_in_the_makefile_and_in_its_help():
    targets = set(re.findall(r"`make ([\w-]+)|^make ([\w-]+)", PAGE, re.M))
    helped = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True,
                            text=True, check=True).stdout
    for target in {name for pair in targets for name in pair if name}:
        assert re.search(rf"^{target}:", MAKEFILE, re.M), target
        assert target == "help" or f"make {target} " in helped


PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if re.match(r"https?:", target):
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), link
        assert not anchor or anchor in anchors(linked), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_override_shown_is_valid(page):
    text = page.read_text(encoding="utf-8")
    for key, told in set(re.findall(r"-S\s+'?([\w.]+)=([\w,]*)", text)):
        if key in ("data", "model", "train", "quantize", "experiment"):
            presets = {path.stem for path in (ROOT / "conf" / key).glob("*.yaml")}
            # README shows how to write an experiment of one's own.
            assert set(told.split(",")) <= presets | {"", "flowers"}, told
        else:
            value = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
            for part in key.split("."):
                assert part in value, key
                value = value[part]


def test_presets_in_the_tables_are_in_conf():
    for group in ("data", "experiment"):  # who adds an experiment need not add a row
        table = re.search(rf"\| `{group}=` .*?\n\n", PAGE, re.S)[0]
        named = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+)", table, re.M))
        names = {name for cell in named for name in re.findall(r"`(\w+)`", cell)}
        assert names
        assert names <= {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}


def test_experiment_of_ones_own_is_composed(tmp_path):
    name, text = re.search(r"here conf/experiment/(\w+)\.yaml.*?```yaml\n(.*?)```", PAGE,
                           re.S).groups()
    assert f"-S experiment={name}\n" in PAGE
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "experiment" / f"{name}.yaml").write_text(text, encoding="utf-8")
    compose(tmp_path / "conf", tmp_path / PARAMS_FILE, [f"experiment={name}"])
    params = load_params("data", "model", "train", "quantize", path=tmp_path / PARAMS_FILE)
    assert (params.data.format, params.model.image_size) == ("imagefolder", 224)
    model = build_model(params.model, 5, pretrained=False)
    assert freeze(model, list(params.train.frozen))


@pytest.mark.parametrize("note", sorted((ROOT / RESULTS).glob("*/NOTE.md")),
                         ids=lambda note: note.parent.name)
def test_note_of_a_published_run_stands_on_its_page(note):
    page = note.with_name("README.md").read_text(encoding="utf-8")
    assert note.read_text(encoding="utf-8") in page
