"""A JupyterLab on this machine, and a Chromium that looks at it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.notebooks.sources import ROOT
from tests.notebooks.test_form import build

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A notebook of every kind of control, with a picture that is taller than the screen and takes as long as one asks for.
PROBE = """
import time
import ipywidgets
from PIL import Image
from nasda.pictures.widgets import explore

def draw(seconds, kind, of, on):
    time.sleep(seconds)
    shade = 50 * len(kind) + 20 * ord(of) % 100 + int(40 * seconds) + 7 * on
    return Image.new("L", (300, 1500), shade % 256), f"{seconds:.2f} s, {kind}, {of}, {on}"

explore(
    draw,
    seconds=ipywidgets.FloatSlider(
        value=0, min=0, max=2, step=0.05, description="seconds that it takes to draw a picture like this one"
    ),
    kind=ipywidgets.Dropdown(options=["one", "two", "three"]),
    of=ipywidgets.RadioButtons(options=["a", "b", "c"]),
    on=ipywidgets.Checkbox(value=True),
)
"""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, with token, of a JupyterLab in a workplace of its own that holds every executed notebook."""
    folder = tmp_path_factory.mktemp("browser")
    cwd = build.workplace(folder / "project")
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        shutil.copy(notebook, cwd)
    cells = [nbformat.v4.new_code_cell(PROBE), nbformat.v4.new_markdown_cell("the end")]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), cwd / "probe.ipynb")
    # JupyterLab takes cells that are out of sight out of the page, where a test does not find them.
    tracker = folder / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    environment = {
        name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "NASDA_CACHE")
    }
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += [
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        "--ServerApp.port_retries=0",
    ]
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, env=os.environ | environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/{{notebook}}?reset&token={token}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is missing: on Debian,  apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page as large as a student's screen; whatever its console calls an error is kept in `page.errors`."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.errors = []  # type: ignore[attr-defined]
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    yield page
    context.close()
