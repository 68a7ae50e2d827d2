"""The report's page as a reader sees it."""

import pytest
from report_files import add_pictures, copy_metrics, edit_json, write_pages

from stages import page

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    copy_metrics(folder)
    add_pictures(folder)
    edit_json(folder / "metrics" / "training_time.json", lambda time: time.update(device="cpu"))
    with pytest.MonkeyPatch.context() as patch:
        write_pages(folder, patch)
    return (folder / page.HTML).as_uri()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")],
                ids="-".join)
def view(request, browser, address):
    """The page, opened; a message of the console or a request for a file fails the test."""
    size, scheme = request.param
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height},
                                  color_scheme=scheme, offline=True)
    opened, told = context.new_page(), []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("request", lambda asked: told.append(asked.url)
              if not asked.url.startswith(("data:", address)) else None)
    opened.goto(address)
    yield opened
    context.close()
    assert told == []


def test_every_picture_is_drawn(view):
    widths = view.eval_on_selector_all("img", "all => all.map(i => i.complete && i.naturalWidth)")
    assert len(widths) > len(page.FIGURES)
    assert all(widths)


def test_page_is_no_wider_than_the_screen(view):
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_links_lead_to_what_can_be_seen(view):
    links = view.locator("a")
    for index in range(links.count()):
        links.nth(index).click()
        target = view.locator(view.evaluate("location.hash"))
        assert target.count() == 1
        top = target.evaluate("element => element.getBoundingClientRect().top")
        assert -1 <= top <= view.viewport_size["height"]


def column(view, table, index):
    return view.eval_on_selector_all(
        f"{table} tbody tr", f"rows => rows.map(row => row.cells[{index}].dataset.value)")


def test_every_column_sorts_both_ways(view):
    count = view.locator("table.sortable").count()
    assert count >= 5
    for number in range(count):
        view.evaluate(f"""document.querySelectorAll("table.sortable")[{number}].id = "sorted" """)
        heads = view.locator("#sorted thead th")
        for index in range(heads.count()):
            before = column(view, "#sorted", index)
            key = str if index == 0 and not before[0].isdigit() else float
            for direction in ("ascending", "descending"):
                heads.nth(index).locator("button").click()
                assert heads.nth(index).get_attribute("aria-sort") == direction
                values = [key(value) for value in column(view, "#sorted", index)]
                assert values == sorted(map(key, before), reverse=direction == "descending")
            assert view.locator("#sorted th[aria-sort]").count() == 1
        view.evaluate("""document.getElementById("sorted").removeAttribute("id")""")


def test_table_sorts_by_keyboard(view):
    view.locator("#variants th button").nth(3).focus()
    view.keyboard.press("Enter")
    values = [float(value) for value in column(view, "#variants table", 3)]
    assert values == sorted(values)


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
