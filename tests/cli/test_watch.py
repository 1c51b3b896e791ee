"""`fitkit fit --watch`: what reaches the page, and that the page works in a browser, if viser and one are at hand."""

import importlib.util
import json
import sys
import urllib.parse

import numpy as np
import pytest

from fitkit.batch.workers.watching import packed
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.results.shown import live_page
from fitkit.results.shown.live_page import LivePage, unpacked
from tests.fixtures.browser import browser, opened
from tests.fixtures.tiny_head import tiny_head
from tests.fixtures.toy_fit import photos

NO_VISER = importlib.util.find_spec("viser") is None


class Listening:
    """In place of the page."""

    address = "http://127.0.0.1:8080"

    def __init__(self):
        self.steps = []

    def show(self, message):
        self.steps.append(message)

    def wait(self):
        self.waited = True


def test_steps_reach_the_page_which_stays(calls, capsys, monkeypatch):
    page = Listening()
    monkeypatch.setattr(live_page, "LivePage", lambda: page)
    assert main.run(["fit", *photos("ok"), "--watch"]) == 0
    assert page.steps == [{"event": "watched", "name": "p0.jpg"}, {"event": "watched", "stage": "toy", "step": 1}]
    said = capsys.readouterr().err
    assert page.waited and f"watch the fit at {page.address}" in said and "until Ctrl-C" in said
    assert calls[0]["batch"] == 1
    page.steps.clear()
    assert main.run(["fit", "p0.jpg", "--watch"]) == 0                # it is there: nothing is fitted
    assert not page.steps and "--overwrite" in capsys.readouterr().err


def test_without_it_no_step_is_told(calls, monkeypatch):
    monkeypatch.setattr(live_page, "LivePage", None)
    assert main.run(["fit", *photos("ok")]) == 0


@pytest.mark.parametrize("other", ["--same-person", "--dry-run", "--workers=2", "--engine=ray"])
def test_what_cannot_be_watched_is_refused(calls, capsys, other):
    assert main.run(["fit", *photos("ok"), "--watch", other]) == 2
    assert other.partition("=")[0] in capsys.readouterr().err and not calls


def test_without_viser_it_is_said_where_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(FitkitError, match=r"pip install 'fitkit\[view\]'"):
        LivePage()


def test_arrays_travel_exactly(rng):
    for array in (rng.normal(size=(5, 3)).astype(np.float32), rng.integers(0, 255, (2, 3, 3)).astype(np.uint8)):
        found = unpacked(json.loads(json.dumps(packed(array))))
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.skipif(NO_VISER, reason="viser is not installed (pip install 'fitkit[view]'); without it there is no page to watch")
@pytest.mark.skipif(browser() is None, reason="no Chromium is installed; without it the page cannot be driven")
def test_the_page_shows_the_fit_and_fetches_nothing_from_elsewhere(tmp_path, capsys, rng):
    head, photo = tiny_head(), packed(np.full((16, 16, 3), 180, np.uint8))
    page = LivePage()
    try:
        assert urllib.parse.urlsplit(page.address).hostname == "127.0.0.1"
        page.show({"name": "photos/<b>me`.png", "photo": photo, "triangles": packed(np.asarray(head.triangles, np.int32))})

        def tell(number, loss):
            vertices = np.asarray(head.mean, np.float32) * np.float32(1 + 0.2 * number)
            page.show({"stage": "picture", "step": number, "most": 9, "loss": loss, "vertices": packed(vertices),
                       "overlay": photo})

        tell(0, None)
        tell(1, 2.5)
        with opened(page.address, tmp_path / "profile") as shown:
            shown.wait_for("step 1 of at most 9")
            assert "<b>me'.png" in shown.value("document.body.innerText") and "loss 2.5" in shown.value("document.body.innerText")
            tell(2, 1.25)
            shown.wait_for("step 2 of at most 9")                             # live
            before = shown.screenshot()
            shown.value("document.querySelector('[role=slider]').focus()")
            shown.press("Home")
            shown.wait_for("step 0 of at most 9")                             # and back
            assert "not known yet" in shown.value("document.body.innerText")
            tell(3, 1.0)
            shown.wait_for("step 0 of at most 9")                             # whoever looks back is left there
            assert shown.screenshot() != before
            own = ("data:", "blob:", page.address, page.address.replace("http", "ws"))
            assert shown.asked and all(each.startswith(own) for each in shown.asked)
    finally:
        page.close()
    assert capsys.readouterr().out == ""
