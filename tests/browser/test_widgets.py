"""Every notebook in a real JupyterLab and a real browser: all cells run, every widget answers keyboard and mouse."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tests.notebooks.sources import SOURCES

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("NASDA_SCREENSHOTS")  # a folder: what the browser showed is kept there
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
MINUTES = 8  # to run all cells; the machine that tests may have other work
# The notebook's cells, and which of them is chosen.
CELLS = """(notebook => [notebook.activeCellIndex, ...notebook.model.sharedModel.cells.map(cell => cell.source)])(
    window.jupyterapp.shell.currentWidget.content)"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_widget_moves(source: Path, lab: str, page: Page) -> None:
    opened(page, lab, source.stem)
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    boxes = page.locator(".nasda-explore")
    assert boxes.count() > 0
    for number in range(boxes.count()):
        box = boxes.nth(number)
        box.scroll_into_view_if_needed()
        fits(page, box)
        keeps_its_keys(page, box)
        move_all(page, box)
        if SCREENSHOTS:
            box.screenshot(path=Path(SCREENSHOTS) / f"{source.stem}-{number}.png")
    assert page.errors == []  # type: ignore[attr-defined]


def test_every_kind_of_control_fits_moves_and_keeps_its_keys(lab: str, page: Page) -> None:
    box = opened(page, lab, "probe").first
    fits(page, box)
    keeps_its_keys(page, box)
    move_all(page, box)
    assert page.errors == []  # type: ignore[attr-defined]


def test_a_fast_picture_follows_the_drag_and_a_slow_one_says_that_it_computes(lab: str, page: Page) -> None:
    box = opened(page, lab, "probe").first
    sign, handle = box.locator(".nasda-computing"), box.locator(".noUi-handle").first
    handle.press("ArrowRight")  # the first picture of all is slow, and says nothing about the next
    text_with(box, "0.05 s")
    before = text_of(box)
    drag_to(page, box, 0.08)
    wait_for_change(page, box, (before, picture_of(box)))  # while the button is held
    drag_to(page, box, 0.9)
    page.mouse.up()
    sign.wait_for(state="visible", timeout=10_000)
    text_with(box, "1.80 s")
    sign.wait_for(state="detached", timeout=10_000)
    before = text_of(box)
    drag_to(page, box, 0.1)
    page.wait_for_timeout(1500)
    assert text_of(box) == before, "a slow picture is drawn when the button is released"
    page.mouse.up()
    text_with(box, "0.20 s")


def opened(page: Page, lab: str, name: str) -> Locator:
    """A notebook whose cells have all run; its boxes."""
    page.goto(lab.format(notebook=f"{name}.ipynb"))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
    assert page.locator("text=Error displaying widget").count() == 0
    run_all(page)
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    return page.locator(".nasda-explore")


def fits(page: Page, box: Locator) -> None:
    """Controls and picture are on the screen together, labels above wide tracks, and the picture has an alt text."""
    whole = box.bounding_box()
    assert whole is not None
    assert page.viewport_size is not None
    assert whole["height"] < page.viewport_size["height"]
    assert len(box.locator("img.nasda-picture").get_attribute("alt") or "") >= 20
    for slider in box.locator(".widget-slider").all():
        track, label = slider.locator(".noUi-base").bounding_box(), slider.locator(".widget-label").bounding_box()
        assert track is not None
        assert label is not None
        assert track["width"] >= 150
        assert label["y"] + label["height"] <= track["y"]


def keeps_its_keys(page: Page, box: Locator) -> None:
    """No key that is pressed in a box becomes a command on the notebook's cells, wherever the focus is."""
    box.locator(".nasda-text").click()  # which chooses its cell
    before = page.evaluate(CELLS)
    for kind in (".noUi-handle", "select", "button", "input", ".nasda-text", ".nasda-picture"):
        for place in box.locator(kind).all()[:1]:
            for come in (place.click, place.focus):
                come()
                for key in ("b", "d", "d", "ArrowDown", "ArrowUp", "a", "x"):
                    page.keyboard.press(key)
                    page.wait_for_timeout(50)
                    assert page.evaluate(CELLS) == before, f"{key} at {kind} changed the notebook"
    settle(page, box)


def settle(page: Page, box: Locator) -> None:
    """Wait until nothing is drawn any more."""
    before = None
    while before != (text_of(box), picture_of(box)):
        before = text_of(box), picture_of(box)
        page.wait_for_timeout(1000)
        page.wait_for_function(f"{KERNEL}?.status === 'idle'", timeout=60_000)
        box.locator(".nasda-computing").wait_for(state="detached", timeout=60_000)


def drag_to(page: Page, box: Locator, share: float) -> None:
    """Take the first slider's handle, and hold it there."""
    handle, track = box.locator(".noUi-handle").first.bounding_box(), box.locator(".noUi-base").first.bounding_box()
    assert handle is not None
    assert track is not None
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] * share, y, steps=5)


def text_with(box: Locator, words: str) -> None:
    box.locator(".nasda-text", has_text=words).wait_for(timeout=30_000)


def run_all(page: Page) -> None:
    """Run all cells once the kernel is there, and wait for the last one."""
    page.wait_for_function(f"{KERNEL}?.status === 'idle'", timeout=MINUTES * 60_000)
    page.evaluate(f"() => {{ window.ran = false; {RUN_ALL}.then(() => {{ window.ran = true; }}); }}")
    page.wait_for_function("window.ran === true", timeout=MINUTES * 60_000)
    page.wait_for_function(f"{KERNEL}?.status === 'idle'", timeout=60_000)


def move_all(page: Page, box: Locator) -> None:
    """Move each control of a box by keyboard and by mouse: text or picture must answer, and in the end both."""
    texts, pictures = {text_of(box)}, {picture_of(box)}
    controls = box.locator(".nasda-controls > :not(.widget-html)")
    assert controls.count() > 0
    for number in range(controls.count()):
        control = controls.nth(number)
        for move in (by_keyboard, by_mouse):
            before = text_of(box), picture_of(box)
            move(page, control)
            wait_for_change(page, box, before)
            texts.add(text_of(box))
            pictures.add(picture_of(box))
    assert len(texts) > 1, "no move changed the text"
    assert len(pictures) > 1, "no move changed the picture"


def by_keyboard(page: Page, control: Locator) -> None:
    if control.locator("select").count():
        choice = control.locator("select")
        count, index = choice.evaluate("s => [s.options.length, s.selectedIndex]")
        choice.press("ArrowUp" if index == count - 1 else "ArrowDown")
    elif control.locator("button").count():
        control.locator("button:not(.mod-active)").first.press("Enter")
    elif control.locator("input[type=radio]").count():
        control.locator("input[type=radio]:checked").press("ArrowDown")
    elif control.locator("input[type=checkbox]").count():
        control.locator("input[type=checkbox]").press("Space")
    else:
        handle = control.locator(".noUi-handle").last
        handle.press(free_direction(handle))


def by_mouse(page: Page, control: Locator) -> None:
    if control.locator("select").count():
        choice = control.locator("select")
        count, index = choice.evaluate("s => [s.options.length, s.selectedIndex]")
        choice.select_option(index=(index + 1) % count)
    elif control.locator("button").count():
        control.locator("button:not(.mod-active)").last.click()
    elif control.locator("input[type=radio]").count():
        control.locator("input[type=radio]:not(:checked)").last.click()
    elif control.locator("input[type=checkbox]").count():
        control.locator("input[type=checkbox]").click()
    else:
        area, handle = control.locator(".noUi-base").bounding_box(), control.locator(".noUi-handle").last.bounding_box()
        assert area is not None
        assert handle is not None
        left = handle["x"] + handle["width"] / 2 - area["x"] < area["width"] / 2
        y = area["y"] + area["height"] / 2
        page.mouse.click(area["x"] + area["width"] * (0.8 if left else 0.2), y)


def free_direction(handle: Locator) -> str:
    at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    return "ArrowLeft" if at_end else "ArrowRight"


def text_of(box: Locator) -> str:
    return box.locator(".nasda-text").inner_text()


def picture_of(box: Locator) -> str:
    return box.locator("img.nasda-picture").get_attribute("src") or ""


def wait_for_change(page: Page, box: Locator, before: tuple[str, str]) -> None:
    for _ in range(300):
        if (text_of(box), picture_of(box)) != before:
            page.wait_for_timeout(200)
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"neither text nor picture answered; the text is still: {before[0]}")
