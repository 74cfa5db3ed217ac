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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_widget_moves(source: Path, lab: str, page: Page) -> None:
    page.goto(lab.format(notebook=f"{source.stem}.ipynb"))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
    assert page.locator("text=Error displaying widget").count() == 0
    run_all(page)
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    boxes = page.locator(".nasda-explore")
    assert boxes.count() > 0
    for number in range(boxes.count()):
        box = boxes.nth(number)
        box.scroll_into_view_if_needed()
        move_all(page, box)
        if SCREENSHOTS:
            box.screenshot(path=Path(SCREENSHOTS) / f"{source.stem}-{number}.png")
    assert page.errors == []  # type: ignore[attr-defined]


def run_all(page: Page) -> None:
    """Run all cells once the kernel is there, and wait for the last one."""
    page.wait_for_function(f"{KERNEL}?.status === 'idle'", timeout=120_000)
    page.evaluate(f"() => {{ window.ran = false; {RUN_ALL}.then(() => {{ window.ran = true; }}); }}")
    page.wait_for_function("window.ran === true", timeout=MINUTES * 60_000)
    page.wait_for_function(f"{KERNEL}?.status === 'idle'", timeout=60_000)


def move_all(page: Page, box: Locator) -> None:
    """Move each control of a box by keyboard and by mouse: text or picture must answer, and in the end both."""
    texts, pictures = {text_of(box)}, {picture_of(box)}
    controls = box.locator(".nasda-controls > .widget-inline-hbox")
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
        choice.focus()
        choice.press(first_letter_of_next(choice))  # JupyterLab keeps the arrows for itself: they leave the cell
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
    elif control.locator("input[type=checkbox]").count():
        control.locator("input[type=checkbox]").click()
    else:
        area, handle = control.locator(".noUi-base").bounding_box(), control.locator(".noUi-handle").last.bounding_box()
        assert area is not None
        assert handle is not None
        left = handle["x"] + handle["width"] / 2 - area["x"] < area["width"] / 2
        y = area["y"] + area["height"] / 2
        page.mouse.click(area["x"] + area["width"] * (0.8 if left else 0.2), y)


def first_letter_of_next(choice: Locator) -> str:
    """The letter that takes a list to another option: the browser looks on from the one that is chosen."""
    options, index = choice.evaluate("s => [[...s.options].map(o => o.text.trim()), s.selectedIndex]")
    return (options[index + 1 :] + options[:index])[0][0]


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
