"""A picture with controls, and a picture that changes while a loop runs.

Every output also holds a static picture of its first state, for pages without a running kernel.
"""

import base64
import html
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import graphviz
import ipywidgets
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from nasda.errors import NasdaError
from nasda.pictures import alt, graphs, plots

Picture: TypeAlias = Figure | graphviz.Digraph | Image.Image
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDTH = 760  # pixels: the width of a page of JupyterLab on a small screen
FAST = 0.3  # seconds: a picture that is drawn in less follows the drag

# Labels stand above their controls, pictures leave room for these on the screen, and "computing…" appears only where
# there is something to wait for. JupyterLab takes no key for a command on cells, such as D, D, if what has the focus
# carries the attribute; a widget has no other way to say so than a style that is told when it is there.
_STYLE = """
<style onload="const box = this.closest('.nasda-explore'), mine = 'data-lm-suppress-shortcuts';
    if (box) { box.tabIndex = -1; box.addEventListener('focusin', event => event.target.setAttribute(mine, '')); }">
.nasda-explore:focus { outline: none }
.nasda-controls > .widget-inline-hbox {
    flex-flow: row wrap; align-content: flex-start; width: max-content; height: auto; margin-right: 20px }
.nasda-controls > .widget-slider { width: 280px }
.nasda-controls > .widget-inline-hbox:not(.widget-checkbox) > .widget-label {
    width: 100%; height: auto; text-align: left; white-space: normal }
.nasda-picture { max-width: 100%; height: auto; max-height: 70vh; object-fit: contain; object-position: left top }
.nasda-computing { animation: nasda-wait 0s FASTs both }
@keyframes nasda-wait { from { visibility: hidden } to { visibility: visible } }
</style>""".replace("FAST", str(FAST))
_COMPUTING = "<span class='nasda-computing' role='status'>computing…</span>"


def png(picture: Picture) -> bytes:
    """A plot, a graph or an image as PNG."""
    if isinstance(picture, graphviz.Digraph):
        return graphs.render(picture, "png")
    if isinstance(picture, Figure):
        return plots.to_png(picture)
    raw = picture._repr_png_()
    assert raw is not None
    return raw


def in_words(picture: Picture) -> str:
    """The alt text of a plot, of a graph, or of an image that has one."""
    if isinstance(picture, graphviz.Digraph):
        return alt.of_graph(picture)
    return alt.of_figure(picture) if isinstance(picture, Figure) else getattr(picture, "alt", "")


def explore(draw: Callable[..., tuple[Picture, str]], **controls: ipywidgets.Widget) -> None:
    """Show `controls` and, below them, the picture and the text that `draw` returns for their values.

    `draw` is called with the values by the controls' names, at once and after each change; while a slider is dragged
    too, if the last call was fast. If it raises a `NasdaError`, the message becomes text and picture. Controls without
    a description are labelled with their name.
    """
    shown = _Shown()
    style, computing = ipywidgets.HTML(_STYLE, layout=ipywidgets.Layout(display="none")), ipywidgets.HTML()

    def update(_: Any = None) -> None:
        begun = time.perf_counter()
        computing.value = _COMPUTING
        try:
            shown.show(*draw(**{name: control.value for name, control in controls.items()}))
        except NasdaError as error:
            words = error.in_a_notebook()
            shown.show(plots.message(words), words)
        finally:
            computing.value = ""
        follows = time.perf_counter() - begun < FAST
        for control in controls.values():
            if control.has_trait("continuous_update"):
                control.continuous_update = follows

    for name, control in controls.items():
        control.description = control.description or name.replace("_", " ")
        control.observe(update, "value")
    update()
    row = ipywidgets.HBox([*controls.values(), computing], layout=ipywidgets.Layout(flex_flow="row wrap"))
    row.add_class("nasda-controls")
    box = ipywidgets.VBox([style, row, shown.text, shown.image]).add_class("nasda-explore")
    data = dict(box._repr_mimebundle_())
    data["image/png"] = base64.b64encode(shown.png).decode()
    values = ", ".join(f"{name} = {control.value}" for name, control in controls.items())
    data["text/plain"] = f"{values}\n{shown.words}"
    display(data, raw=True, metadata={"image/png": {"width": shown.width, "alt": shown.alt}})


class _Shown:
    """The text and the picture below the controls."""

    def __init__(self) -> None:
        self.text = ipywidgets.HTML().add_class("nasda-text")
        self.image = ipywidgets.HTML()

    def show(self, picture: Picture, words: str) -> None:
        """Show both, the picture with its alt text; `ipywidgets.Image` has none."""
        try:
            self.png, self.alt = png(picture), alt.shortened(f"{words.rstrip('. ')}. {in_words(picture)}")
        except NasdaError as error:  # such as a graph that cannot be laid out
            words = error.in_a_notebook()
            self.png, self.alt = png(plots.message(words)), alt.shortened(words)
        self.words = words
        width, height = (int.from_bytes(self.png[at : at + 4], "big") for at in (16, 20))  # in the PNG's header
        self.width = min(WIDTH, width)
        self.text.value = f"<div style='line-height:1.5'>{html.escape(words).replace(chr(10), '<br>')}</div>"
        self.image.value = (
            f"<img class='nasda-picture' alt='{html.escape(self.alt)}' width='{self.width}' "
            f"height='{height * self.width // width}' decoding='sync' "
            f"src='data:image/png;base64,{base64.b64encode(self.png).decode()}'>"
        )


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
