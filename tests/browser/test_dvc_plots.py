"""Every plot that dvc.yaml names is drawn by `dvc plots show` and `dvc plots diff`."""

import re

import pytest
import yaml
from paths import ROOT
from working_copy import make_working_copy, run

pytestmark = pytest.mark.browser

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
VARIANTS = yaml.safe_load((ROOT / "params.yaml").read_text())["variants"]
NAMED = [name for entry in PIPELINE["plots"] for name in entry]
TITLED = [properties["title"].replace("${key}", variant)
          for stage in PIPELINE["stages"].values()
          for entry in stage.get("do", stage).get("plots", [])
          for properties in entry.values() if "title" in properties
          for variant in (VARIANTS if "${key}" in properties["title"] else [""])]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Two commits whose plots differ."""
    folder = make_working_copy(tmp_path_factory.mktemp("plots") / "repository")
    path = folder / "plots" / "accuracy_latency.csv"
    path.write_text(path.read_text().replace(",0.9", ",0.8"))
    run(folder, "git", "commit", "-qam", "changed")
    return folder


@pytest.fixture(scope="module")
def scripts():
    from vl_convert import javascript_bundle

    return javascript_bundle(vl_version="5.20")


@pytest.mark.parametrize("command", [("show",), ("diff", "HEAD~1", "HEAD")], ids=["show", "diff"])
def test_every_named_plot_is_drawn(repository, browser, scripts, command):
    run(repository, "dvc", "plots", *command, "-o", "page")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(180_000)  # ms; Vega compiles sixteen plots while the page loads
    opened, told, asked = context.new_page(), [], []
    opened.on("pageerror", lambda error: told.append(str(error)))
    # Vega warns that the templates name another version than the one at hand; errors count.
    opened.on("console", lambda message: message.type == "error" and told.append(message.text))

    def answer(route):
        """The first script that the page asks of a network brings all of Vega."""
        asked.append(route.request.url)
        route.fulfill(body=scripts if len(asked) == 1 else "",
                      content_type="text/javascript; charset=utf-8")

    opened.route(re.compile("^https://"), answer)
    opened.goto((repository / "page" / "index.html").as_uri())
    plots = (repository / "page" / "index.html").read_text().count("vegaEmbed(")
    opened.wait_for_function(f"document.querySelectorAll('svg.marks').length === {plots}")
    titles = opened.locator("svg.marks .role-title-text").all_text_contents()
    assert {*NAMED, *TITLED} <= set(titles)
    assert {*VARIANTS} <= set(opened.locator("svg.marks .mark-text text").all_text_contents())
    for index in range(opened.locator("svg.marks").count()):
        drawn = opened.locator("svg.marks").nth(index).locator(
            ".mark-line path, .mark-rect path, .mark-symbol path")
        assert drawn.count() > 0
    broken = opened.eval_on_selector_all("img", "all => all.filter(i => !i.naturalWidth).length")
    assert broken == 0
    assert opened.locator("img").count() >= 6  # the figures of the report stage
    assert told == []
    context.close()
