"""`explore` shows a picture and words at once, whatever becomes of them."""

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import graphviz
import ipywidgets
import pytest
from PIL import Image

from nasda.errors import NasdaError
from nasda.pictures import graphs, widgets
from nasda.pictures.plots import Plot


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `explore` hands to the notebook."""
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(
        widgets, "display", lambda bundle, **given: bundles.append(bundle | given["metadata"]["image/png"])
    )
    return bundles


def picture_of(bundle: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("L")


def of_number(number: int) -> tuple[Plot, str]:
    if number < 0:
        raise NasdaError("a number from 0 expected: " + "move the slider to the right " * 8)
    return Plot(3, 2), f"number {number}"


def test_the_static_picture_is_that_of_the_first_state(shown: list[dict[str, Any]]) -> None:
    widgets.explore(of_number, number=ipywidgets.IntSlider(2, -3, 3))
    (bundle,) = shown
    assert picture_of(bundle).size == (300, 200)
    assert bundle["text/plain"] == "number = 2\nnumber 2"


def test_a_first_draw_that_is_refused_shows_the_words_as_text_and_as_picture(shown: list[dict[str, Any]]) -> None:
    slider = ipywidgets.IntSlider(-1, -3, 3)
    widgets.explore(of_number, number=slider)
    (bundle,) = shown
    assert "a number from 0 expected" in bundle["text/plain"]
    refused = picture_of(bundle)
    assert refused.width == widgets.WIDTH
    assert refused.getextrema()[0] < 100 < 250 < refused.getextrema()[1]  # dark letters on white
    assert refused.crop((0, 0, 4, refused.height)).getextrema() == (255, 255)  # none is cut off
    assert refused.crop((refused.width - 4, 0, *refused.size)).getextrema() == (255, 255)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The HTML that `explore` makes; the second is the picture."""
    widgets_made: list[Any] = []
    remember: Callable[..., Any] = ipywidgets.HTML

    def html(*arguments: Any, **settings: Any) -> Any:
        widgets_made.append(remember(*arguments, **settings))
        return widgets_made[-1]

    monkeypatch.setattr(ipywidgets, "HTML", html)
    return widgets_made


@pytest.mark.parametrize("first", [-1, 1])
def test_text_and_picture_follow_the_slider_together(first: int, shown: list[dict[str, Any]], made: list[Any]) -> None:
    slider = ipywidgets.IntSlider(first, -3, 3)
    widgets.explore(of_number, number=slider)
    before = made[1].value
    slider.value = -first
    assert made[1].value != before
    slider.value = first
    assert made[1].value == before


def test_the_picture_s_alt_text_are_the_words_and_what_is_drawn(shown: list[dict[str, Any]], made: list[Any]) -> None:
    def draw(height: int) -> tuple[Plot, str]:
        figure = Plot(3, 2)
        figure.subplots().plot([1, height], label="it's a line")
        return figure, f"up to {height}"

    slider = ipywidgets.IntSlider(2, 1, 3)
    widgets.explore(draw, height=slider)
    assert shown[0]["alt"] == "up to 2. lines: it's a line 1 → 2."
    assert "alt='up to 2. lines: it&#x27;s a line 1 → 2.'" in made[1].value
    slider.value = 3
    assert "alt='up to 3. lines: it&#x27;s a line 1 → 3.'" in made[1].value


def test_a_slider_s_picture_follows_the_drag_where_the_last_one_was_fast(shown: list[dict[str, Any]]) -> None:
    slider = ipywidgets.FloatSlider(0.4, min=0, max=1)

    def draw(seconds: float) -> tuple[Image.Image, str]:
        time.sleep(seconds)
        return Image.new("L", (2, 2)), "a grey square"

    widgets.explore(draw, seconds=slider)
    assert not slider.continuous_update
    slider.value = 0
    assert slider.continuous_update
    slider.value = 0.4
    assert not slider.continuous_update


def test_a_graph_that_cannot_be_laid_out_becomes_words(
    shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bytes:
        raise NasdaError("no Graphviz here")

    monkeypatch.setattr(graphs, "render", refuse)
    widgets.explore(lambda on: (graphviz.Digraph("g"), "a graph"), on=ipywidgets.Checkbox(True))
    assert shown[0]["text/plain"] == "on = True\nno Graphviz here"
    assert picture_of(shown[0]).getextrema()[0] < 100
