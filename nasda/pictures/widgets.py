"""A picture with controls, and a picture that changes while a loop runs.

Every output also holds a static picture of its first state, for pages without a running kernel.
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
WIDTH = 760  # pixels: the width of a page of JupyterLab on a small screen


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
    """Show `controls` and, below them, the picture and the text that `draw` returns for their values.

    `draw` is called with the values by the controls' names, at once and after each change. If it raises a `NasdaError`,
    the message becomes text and picture. Controls without a description are labelled with their name.
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
        image.width = str(min(WIDTH, int.from_bytes(image.value[16:20], "big")))  # the width in the PNG's header
        text.value = f"<div style='line-height:1.5'>{html.escape(words).replace(chr(10), '<br>')}</div>"
        return words

    for name, control in controls.items():
        control.description = control.description or name.replace("_", " ")
        control.style.description_width = "initial"
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # pictures are slow: draw when the slider is released
        control.observe(update, "value")
    words = update()
    row = ipywidgets.HBox(list(controls.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
    row.add_class("nasda-controls")
    box = ipywidgets.VBox([row, text, image]).add_class("nasda-explore")
    bundle = dict(box._repr_mimebundle_())
    bundle["image/png"] = base64.b64encode(image.value).decode()
    bundle["text/plain"] = f"{', '.join(f'{name} = {control.value}' for name, control in controls.items())}\n{words}"
    display(bundle, raw=True, metadata={"image/png": {"width": int(image.width)}})


class Live:
    """A picture that is replaced while a loop runs. The last one stays."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, picture: Figure) -> None:
        """Show `picture` in the place of the one before."""
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
