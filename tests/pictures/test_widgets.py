"""`explore` shows a picture and words at once, whatever becomes of them."""

import base64
import io
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
    monkeypatch.setattr(widgets, "display", lambda bundle, **_: bundles.append(bundle))
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


@pytest.mark.parametrize("first", [-1, 1])
def test_text_and_picture_follow_the_slider_together(
    first: int, shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    remember: Callable[..., Any] = ipywidgets.Image

    def image(**settings: Any) -> Any:
        made.append(remember(**settings))
        return made[-1]

    monkeypatch.setattr(ipywidgets, "Image", image)
    slider = ipywidgets.IntSlider(first, -3, 3)
    widgets.explore(of_number, number=slider)
    before = made[0].value
    slider.value = -first
    assert made[0].value != before
    slider.value = first
    assert made[0].value == before


def test_a_graph_that_cannot_be_laid_out_becomes_words(
    shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bytes:
        raise NasdaError("no Graphviz here")

    monkeypatch.setattr(graphs, "render", refuse)
    widgets.explore(lambda on: (graphviz.Digraph("g"), "a graph"), on=ipywidgets.Checkbox(True))
    assert shown[0]["text/plain"] == "on = True\nno Graphviz here"
    assert picture_of(shown[0]).getextrema()[0] < 100
