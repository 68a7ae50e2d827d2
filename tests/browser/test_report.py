"""The report's page as a reader sees it."""

from contextlib import contextmanager

import pytest
from paths import ROOT
from PIL import Image
from report_files import add_pictures, copy_metrics, write_pages

from stages.page import FIGURES, HTML

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    copy_metrics(folder)
    add_pictures(folder)
    with pytest.MonkeyPatch.context() as patch:
        write_pages(folder, patch)
    return (folder / HTML).as_uri()


@contextmanager
def opened(browser, address, size, scheme):
    """The page, opened; a message of the console or a request for a file fails the test."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height},
                                  color_scheme=scheme, offline=True)
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda asked: told.append(asked.url)
            if not asked.url.startswith(("data:", address)) else None)
    page.goto(address)
    yield page
    context.close()
    assert told == []


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")],
                ids="-".join)
def view(request, browser, address):
    with opened(browser, address, *request.param) as page:
        yield page


@pytest.fixture
def desktop(browser, address):
    with opened(browser, address, "desktop", "light") as page:
        yield page


def test_a_screenshot_is_left_to_look_at(view, request):
    path = ROOT / "screenshots" / f"report-{request.node.callspec.id}.png"
    view.screenshot(path=path, full_page=True)
    with Image.open(path) as picture:
        assert picture.width == view.viewport_size["width"]
        assert picture.height > view.viewport_size["height"]


def test_every_picture_is_drawn(view):
    widths = view.eval_on_selector_all("img", "all => all.map(i => i.complete && i.naturalWidth)")
    assert len(widths) > len(FIGURES)
    assert all(widths)


def test_page_is_no_wider_than_the_screen(view):
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_links_lead_to_what_can_be_seen(desktop):
    links = desktop.locator("a")
    assert links.count() > 5
    for index in range(links.count()):
        links.nth(index).click()
        top = desktop.evaluate("document.querySelector(location.hash).getBoundingClientRect().top")
        assert -1 <= top <= desktop.viewport_size["height"]


def column(view, table, index):
    return view.eval_on_selector_all(
        f"{table} tbody tr", f"rows => rows.map(row => row.cells[{index}].dataset.value)")


def test_every_column_sorts_both_ways(desktop):
    """Clicks on every heading twice, and reads the column and what the heading says each time."""
    heads = desktop.evaluate("""() =>
        [...document.querySelectorAll("table.sortable thead th")].map(head => {
            const rows = head.closest("table").tBodies[0].rows;
            return [0, 1].map(() => {
                head.querySelector("button").click();
                return [head.getAttribute("aria-sort"),
                        head.closest("table").querySelectorAll("th[aria-sort]").length,
                        [...rows].map(row => row.cells[head.cellIndex].dataset.value)];
            });
        })""")
    assert len(heads) > 20
    for clicks in heads:
        for (told, marked, values), direction in zip(clicks, ("ascending", "descending"),
                                                     strict=True):
            assert told == direction
            assert marked == 1
            key = float if values[0].lstrip("-")[0].isdigit() else str
            assert values == sorted(values, key=key, reverse=direction == "descending")
    assert [clicks for clicks in heads if clicks[0][2] != clicks[1][2]]


def test_a_column_of_numbers_and_names_has_one_order(desktop):
    order = desktop.evaluate("""() => {
        const table = document.querySelector("table.sortable"), body = table.tBodies[0];
        const shown = ["10a", "9", "10", "b"];
        [...body.rows].forEach((row, index) => {
            if (index < shown.length) row.cells[0].dataset.value = shown[index];
            else row.remove();
        });
        table.querySelector("th button").click();
        return [...body.rows].map(row => row.cells[0].dataset.value);
    }""")
    assert order == ["9", "10", "10a", "b"]


@pytest.mark.parametrize("act", [lambda button: button.click(),
                                 lambda button: button.press("Enter")], ids=["mouse", "keyboard"])
def test_heading_answers_to(desktop, act):
    before = column(desktop, "#variants table", 3)
    act(desktop.locator("#variants th button").nth(3))
    after = column(desktop, "#variants table", 3)
    assert after == sorted(before, key=float) != before


def test_text_is_readable(view):
    """Contrast of text and page as WCAG 2.1 measures it, at least 4.5."""
    for selector in ("h1", "p", "a", ".quiet", "tr.chosen td", "thead th", ".badge"):
        colours = view.eval_on_selector(selector, """element => {
            let behind = element;
            const filled = node => !["rgba(0, 0, 0, 0)", "transparent"].includes(
                getComputedStyle(node).backgroundColor);
            while (!filled(behind)) behind = behind.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]
                .map(colour => colour.match(/[0-9.]+/g).slice(0, 3).map(Number));
        }""")
        light, dark = sorted(map(luminance, colours), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def luminance(colour):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in (value / 255 for value in colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear,
                                                     strict=True))
