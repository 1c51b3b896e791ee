"""`fitkit fit --watch`: a page in a browser of this machine that shows a fit while it runs, by viser (extra `view`).

In: the messages of `fitkit.batch.workers.watching`. Shown: the photo's crop, the head as it is after the step, its rendering over
the crop; stage, step and loss, the curve of the loss, and a slider over all steps so far. The page is served on 127.0.0.1, at the
first free port from 8080 on, and fetches nothing from elsewhere.
"""

import base64
import contextlib
import io
import threading
from typing import Any

import numpy as np

from fitkit.errors import FitkitError, visible

HOST = "127.0.0.1"
# all chosen, in decimetres of the head frame: the head is some three high, and viser's controls suit lengths near 1
UNIT = 0.01                  # of a millimetre
SIDE = 3.0                   # of the pictures beside the head
APART = 3.1                  # of their middles from the head's
CAMERA = (0.0, 0.2, 10.5)    # from the head's middle
FIELD = 0.52                 # radians from top to bottom: a portrait lens
CLAY = (205, 190, 178)       # sRGB, of the head
FRONT = (0.0, 1.0, 0.0, 0.0)     # quaternion of a half turn about x: viser's pictures have y down


class LivePage:
    """The page, open from the start.

    Raises:
        FitkitError: E_DATA without viser.
    """

    def __init__(self) -> None:
        try:
            import viser
        except ModuleNotFoundError:
            raise FitkitError("E_DATA", "--watch needs viser; pip install 'fitkit[view]'") from None
        with contextlib.redirect_stdout(io.StringIO()):      # standard output is for results
            self._server = viser.ViserServer(host=HOST, verbose=False)
        self.address = f"http://{HOST}:{self._server.get_port()}"
        self.steps: list[dict[str, Any]] = []      # of the photo that is shown
        self._lock = threading.RLock()             # steps come from the run, moves of the slider from viser's threads
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._server.gui.main_panel.dock_right()
        self._server.scene.set_up_direction("+y")
        camera = self._server.initial_camera
        camera.position, camera.look_at, camera.fov = CAMERA, (0.0, 0.0, 0.0), FIELD
        gui = self._server.gui
        self._said = gui.add_markdown("waiting for the first step: the first fit compiles for up to a minute")
        self._slider: Any = gui.add_slider("step", min=0, max=1, step=1, initial_value=0)
        self._curve = gui.add_uplot((np.zeros(1), np.zeros(1)), ({}, {"label": "loss", "stroke": "#b3541e", "width": 2}),
                                    scales={"x": {"time": False}}, title="loss, % of the first", aspect=1.4)
        gui.add_markdown("What counts is weighed anew after each step, and against a blurred picture first: the loss may rise.")
        self._slider.on_update(lambda event: self._turned() if event.client is not None else None)

    def show(self, message: dict[str, Any]) -> None:
        """Show a message: a face that is going to be fitted, or a step of its fit."""
        with self._lock:
            if "name" in message:
                self._begin(message)
                return
            following = not self.steps or int(self._slider.value) >= len(self.steps) - 1
            self.steps.append(message)
            self._slider.max = max(len(self.steps) - 1, 1)
            known = [(place, step["loss"]) for place, step in enumerate(self.steps) if step["loss"] is not None]
            if known:
                places, losses = np.array(known, float).T
                self._curve.data = (places, 100 * losses / losses[0] if losses[0] else losses)
            if following:
                self._slider.value = len(self.steps) - 1
                self._draw(message)

    def wait(self) -> None:
        """Keep the page open until Ctrl-C; where nothing was shown, close it at once."""
        with contextlib.suppress(KeyboardInterrupt):
            while self.steps:
                threading.Event().wait(3600)
        self.close()

    def close(self) -> None:
        """Close the page."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _begin(self, message: dict[str, Any]) -> None:
        self.steps = []
        self._name = visible(message["name"].replace("\\", "/").rpartition("/")[2]).replace("`", "'")
        self._triangles = unpacked(message["triangles"])
        photo = unpacked(message["photo"])
        self._server.scene.add_image("/photo", photo, SIDE, SIDE, position=(-APART, 0.0, 0.0), wxyz=FRONT, cast_shadow=False)
        self._overlay = self._server.scene.add_image("/overlay", photo, SIDE, SIDE, position=(APART, 0.0, 0.0), wxyz=FRONT,
                                                     cast_shadow=False)
        self._head: Any = None

    def _turned(self) -> None:
        """The slider was moved."""
        with self._lock:
            if self.steps:
                self._draw(self.steps[min(int(self._slider.value), len(self.steps) - 1)])

    def _draw(self, step: dict[str, Any]) -> None:
        vertices = unpacked(step["vertices"]) * np.float32(UNIT)
        if self._head is None:
            self._middle = (vertices.min(0) + vertices.max(0)) / 2
            self._head = self._server.scene.add_mesh_simple("/head", vertices - self._middle, self._triangles, color=CLAY,
                                                            side="double")
        else:
            self._head.vertices = vertices - self._middle
        self._overlay.image = unpacked(step["overlay"])
        loss = "not known yet" if step["loss"] is None else f"{step['loss']:.5g}"
        self._said.content = (f"`{self._name}`\n\n**{step['stage']}**, step {step['step']} of at most {step['most']}\n\n"
                              f"loss {loss}")


def unpacked(array: dict[str, Any]) -> np.ndarray:
    """The array of a message."""
    return np.frombuffer(base64.b64decode(array["bytes"]), array["type"]).reshape(array["shape"])
