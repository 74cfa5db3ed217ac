"""A picture with sliders and choices above it, and a picture that is drawn again while a loop runs.

A page that does not run has no sliders, so every output also carries a static picture of its first state.
"""

import base64
import html
from collections.abc import Callable
from typing import Any, TypeAlias

import graphviz
import ipywidgets
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from nasda.errors import NasdaError
from nasda.pictures import graphs, plots

Picture: TypeAlias = Figure | graphviz.Digraph | Image.Image
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDTH = 760  # pixels: what a page of JupyterLab has on a small screen


def png(picture: Picture) -> bytes:
    """A plot, a graph or an image as PNG."""
    if isinstance(picture, graphviz.Digraph):
        return graphs.render(picture, "png")
    if isinstance(picture, Figure):
        return plots.to_png(picture)
    raw = picture._repr_png_()
    assert raw is not None
    return raw


def explore(draw: Callable[..., tuple[Picture, str]], **controls: ipywidgets.Widget) -> None:
    """Show `controls` and, below them, what `draw` makes of their values: a picture and a line of text.

    `draw` is called with the values by the controls' names, first at once. The words of a `NasdaError` that it raises
    become both text and picture. Controls without a description are labelled with their name. Nothing breaks where
    there is no browser.
    """
    text = ipywidgets.HTML().add_class("nasda-text")
    image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%", object_fit="contain"))
    image.add_class("nasda-picture")

    def update(_: Any = None) -> str:
        try:
            picture, words = draw(**{name: control.value for name, control in controls.items()})
            image.value = png(picture)
        except NasdaError as error:
            words = str(error)
            image.value = png(plots.message(words))
        image.width = str(min(WIDTH, _png_width(image.value)))
        text.value = f"<div style='line-height:1.5'>{html.escape(words).replace(chr(10), '<br>')}</div>"
        return words

    for name, control in controls.items():
        control.description = control.description or name.replace("_", " ")
        control.style.description_width = "initial"
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # a picture takes a while; the last place of the slider counts
        control.observe(update, "value")
    words = update()
    row = ipywidgets.HBox(list(controls.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
    row.add_class("nasda-controls")
    box = ipywidgets.VBox([row, text, image]).add_class("nasda-explore")
    bundle = dict(box._repr_mimebundle_())
    bundle["image/png"] = base64.b64encode(image.value).decode()
    bundle["text/plain"] = f"{', '.join(f'{name} = {control.value}' for name, control in controls.items())}\n{words}"
    display(bundle, raw=True, metadata={"image/png": {"width": int(image.width)}})


def _png_width(data: bytes) -> int:
    """The width that stands in a PNG's header."""
    return int.from_bytes(data[16:20], "big")


class Live:
    """A picture that is drawn again in its place while a loop runs. The last one stays."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, picture: Figure) -> None:
        """Draw `picture` in the place of the one before."""
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
