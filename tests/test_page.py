"""Both pages of the report, made from the repository's own metrics."""

import base64
import csv
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from paths import ROOT
from refusals import refusal
from report_files import add_pictures, copy_metrics, edit_json, selected_in, write_pages

from stages import page

LOADING = {"src", "srcset", "href", "data", "action", "poster", "background"}


class Elements(HTMLParser):
    """All elements of a page, as (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def folder(tmp_path):
    copy_metrics(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    copy_metrics(folder)
    with pytest.MonkeyPatch.context() as patch:
        return write_pages(folder, patch)


@pytest.fixture(scope="module")
def elements(pages):
    return Elements(pages[0])


@pytest.fixture(scope="module")
def summary():
    return json.loads((ROOT / "metrics" / "summary.json").read_text())


def test_markdown_page_is_made_from_the_metrics(pages):
    assert (ROOT / page.MARKDOWN).read_text(encoding="utf-8") == pages[1]


def test_html_page_is_not_in_git():
    assert f"/{page.HTML}" in (ROOT / ".gitignore").read_text().splitlines()


def test_html_page_loads_nothing(pages, elements):
    targets = [value for _, attributes in elements.found for name, value in attributes.items()
               if name in LOADING]
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", pages[0])


def test_html_page_forbids_to_load(elements):
    policy = next(meta["content"] for meta in elements.all("meta")
                  if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_links_of_the_html_page_have_their_targets(elements):
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in elements.all("a")} == set(ids)


def test_links_of_the_markdown_page_are_files(pages):
    targets = re.findall(r"\]\(([^)]+)\)", pages[1])
    assert len(targets) > len(page.FIGURES)
    for target in targets:
        assert (ROOT / "docs" / target).is_file(), target


def test_figures_stand_in_both_pages(pages, elements):
    embedded = [base64.b64decode(image["src"].partition("base64,")[2])
                for image in elements.all("img")]
    for name in page.FIGURES:
        assert (ROOT / "plots" / f"{name}.png").read_bytes() in embedded, name
        assert f"](../plots/{name}.png)" in pages[1]
    assert all(image["alt"] for image in elements.all("img"))


def test_every_value_of_the_summary_stands_in_the_html_page(pages, summary):
    for name, row in summary["variants"].items():
        for key, value in row.items():
            assert f">{value}<" in pages[0], (name, key)
    assert summary["selected"]["reason"][1:] in pages[0]


def test_values_for_sorting_are_those_shown(elements, summary):
    sortable = [cell["data-value"] for cell in elements.all("td") if "data-value" in cell]
    for row in summary["variants"].values():
        for key, value in row.items():
            if key == "accuracy_ci95_low" or "ci95" not in key:  # other ends are told beside one
                assert str(value) in sortable, key


def test_every_percentile_stands_with_its_interval(pages):
    benchmark = json.loads((ROOT / "metrics" / "benchmark.json").read_text())
    for name, row in {**benchmark["variants"], **benchmark["baselines"]}.items():
        for percentile in benchmark["percentiles"]:
            value, low, high = (row[f"latency_p{percentile}_ms{end}"]
                                for end in ("", "_ci95_low", "_ci95_high"))
            told = f"{value:.2f} ({low:.2f} to {high:.2f})"
            assert f">{told}<" in pages[0], name
            assert f"| {told} |" in pages[1], name


@pytest.mark.parametrize("unsettled", [[], ["onnx_fp32", "int8_static"]])
def test_times_that_did_not_settle_are_named(folder, monkeypatch, unsettled):
    edit_json(folder / "metrics" / "benchmark.json", lambda benchmark: [
        row.update(settled=name not in unsettled)
        for rows in (benchmark["variants"], benchmark["baselines"]) for name, row in rows.items()])
    for text in write_pages(folder, monkeypatch):
        assert ("did not settle" in text) == bool(unsettled)
        assert not unsettled or ", ".join(unsettled) in text


def test_answer_stands_first(pages, summary):
    selected = summary["selected"]["variant"]
    best = summary["variants"][selected]
    for text in pages:
        opening = text[text.find("<header>"):text.find("</nav>")] if "<header>" in text \
            else text[:text.index("| variant |")]
        for told in (selected, f"{100 * best['accuracy']:.2f} %",
                     f"{best['latency_p50_ms']:.2f} ms", f"{best['speedup_latency']:.2f} times",
                     f"{best['size_mb']:.2f} MB"):
            assert told in opening, told


def test_no_pictures_without_data(pages, elements):
    assert len(elements.all("img")) == len(page.FIGURES)
    assert "The pictures are not here" in pages[0]


def test_pictures_of_mistakes(folder, monkeypatch):
    add_pictures(folder)
    html, markdown = write_pages(folder, monkeypatch)
    found = Elements(html)
    expected = sum(min(page.EXAMPLES, pair["pictures"]) for pair in page.gather()["pairs"])
    assert len(found.all("img")) - len(page.FIGURES) == expected > 0
    assert "The pictures are not here" not in html
    assert "base64" not in markdown


def test_no_pictures_by_a_foreign_table(folder, monkeypatch):
    add_pictures(folder)
    path = folder / "data" / "predictions" / f"{selected_in(folder)}.csv"
    path.write_text("a,b\n1,2\n")
    html, _ = write_pages(folder, monkeypatch)
    assert "The pictures are not here" in html
    path.write_text("")
    assert "not valid CSV" in refusal(page.main)


def test_no_pictures_of_another_run(folder, monkeypatch):
    add_pictures(folder)
    predictions = folder / "data" / "predictions"
    shutil.copyfile(predictions / "int8_dynamic.csv", predictions / f"{selected_in(folder)}.csv")
    html, _ = write_pages(folder, monkeypatch)
    assert "The pictures are not here" in html


def test_warning_when_the_timings_are_of_another_machine(folder, monkeypatch, caplog):
    html, _ = write_pages(folder, monkeypatch)
    assert 'role="alert"' not in html
    assert "WARNING" not in [record.levelname for record in caplog.records]
    edit_json(folder / "metrics" / "system.json",
              lambda system: system["cpu"].update(model="Other <CPU>", flags=["avx2"]))
    page.main()
    html = (folder / page.HTML).read_text()
    assert 'role="alert"' in html
    assert "Other &lt;CPU&gt;" in html
    assert "make bench" in next(record.getMessage() for record in caplog.records
                                if record.levelname == "WARNING")


def test_a_change_since_the_run_is_told(folder, monkeypatch, caplog):
    write_pages(folder, monkeypatch)
    monkeypatch.setattr(page, "what_changed", lambda: "params.yaml: train: not as it was")
    caplog.clear()
    page.main()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["The pages may show what did not make their numbers. params.yaml: train: not "
                    "as it was"]


def test_names_of_classes_are_no_markup(folder, monkeypatch):
    name = "<b onclick=x>|*"
    shipped = (folder / "plots" / "confusion" / f"{selected_in(folder)}.csv").read_text()
    actual, predicted = next(row for row in csv.reader(shipped.splitlines()[1:])
                             if row[0] != row[1])
    for path in (folder / "plots" / "confusion").glob("*.csv"):
        path.write_text(path.read_text().replace(f"\n{actual},{predicted}\n",
                                                 f'\n"{name}",{predicted}\n'))
    html, markdown = write_pages(folder, monkeypatch)
    assert "<b onclick" not in html + markdown
    assert "&lt;b onclick=x>\\|*" in markdown


def test_variant_without_mistakes(folder, monkeypatch):
    selected = selected_in(folder)
    path = folder / "plots" / "confusion" / f"{selected}.csv"
    path.write_text("actual,predicted\n1,1\n")
    html, markdown = write_pages(folder, monkeypatch)
    for text in (html, markdown):
        assert f"{selected} makes none on the test pictures" in text


@pytest.mark.parametrize("name", ["metrics/summary.json", "metrics/system.json",
                                  "metrics/analysis.json", "metrics/evaluate/int8_static.json",
                                  "plots/confusion/onnx_fp32.csv", "plots/collapse.png"])
def test_missing_file(folder, monkeypatch, name):
    write_pages(folder, monkeypatch)
    (folder / name).unlink()
    assert refusal(page.main) == f"{name}: no such file; run 'dvc repro'"


def test_broken_file(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "metrics" / "export.json").write_text("{")
    assert refusal(page.main).startswith("metrics/export.json: not valid JSON")


def test_metrics_of_other_parameters(folder, monkeypatch):
    monkeypatch.chdir(folder)
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("  image_size: 64", "  image_size: 96"))
    message = refusal(page.main)
    assert "64" in message
    assert "96" in message
    assert message.endswith("run 'dvc repro'")


def test_metrics_of_older_code_leave_the_pages_alone(folder, monkeypatch):
    write_pages(folder, monkeypatch)
    before = [(folder / path).read_bytes() for path in (page.HTML, page.MARKDOWN)]
    edit_json(folder / "metrics" / "summary.json", lambda summary: [
        row.pop("mcnemar_p") for row in summary["variants"].values()])
    assert "mcnemar_p" in refusal(page.main)
    assert [(folder / path).read_bytes() for path in (page.HTML, page.MARKDOWN)] == before


def test_the_float_model_is_not_compared_with_itself(folder, monkeypatch):
    add_pictures(folder)
    edit_json(folder / "metrics" / "summary.json",
              lambda summary: summary["selected"].update(variant="onnx_fp32"))
    html, markdown = write_pages(folder, monkeypatch)
    assert "<h1>Ship onnx_fp32</h1>" in html
    assert "how sure the model is of its mistake.</p>" in html
    assert "| actual | taken for | onnx_fp32 |\n| --- | --- | ---: |\n" in markdown
