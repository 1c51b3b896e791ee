"""The viewer's page: what it holds, that strangers' words do not act in it, and that it works in a browser, if one is at hand."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from fitkit.export.gltf import head_glb
from fitkit.export.viewer import ViewedFace, viewer_page
from tests.fixtures.tiny_head import tiny_head, tiny_parameters

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = "</script><script>document.title = 'taken'</script>\u202egnp"

# Moves every part of the page as a user does and writes what came of it into the document.
DRIVER = """
document.addEventListener("securitypolicyviolation", function (event) { window.refused = event.violatedDirective; });
(function wait() {
  if (!document.body.dataset.ready) { setTimeout(wait, 20); return; }
  const at = function (id) { return document.getElementById(id); };
  const snap = function () { fitkit.renderer.render(fitkit.scene, fitkit.camera); return at("canvas").toDataURL(); };
  const sliders = at("sliders"), mesh = fitkit.meshes()[0], slider = sliders.querySelector("input"), before = snap();
  slider.value = 1;
  slider.dispatchEvent(new Event("input"));
  const moved = snap() !== before, weight = mesh.morphTargetInfluences[mesh.morphTargetDictionary[slider.name]];
  at("neutral").click();
  const rest = mesh.morphTargetInfluences.every(function (each) { return each === 0; }), neutral = snap();
  at("wireframe").click();
  const wires = snap() !== neutral;
  const outside = performance.getEntriesByType("resource").filter(function (entry) { return !/^(blob|data):/.test(entry.name); });
  const report = document.createElement("pre");
  report.id = "report";
  report.textContent = JSON.stringify({ moved: moved, weight: weight, rest: rest, wires: wires, sliders: sliders.childNodes.length,
    outside: outside.length, refused: window.refused || "", title: document.title, name: at("name").textContent });
  document.body.append(report);
}());
"""


@pytest.fixture(scope="module")
def head():
    return tiny_head()


@pytest.fixture(scope="module")
def page(head):
    picture = Image.new("RGB", (40, 30), (200, 120, 90))
    face = ViewedFace(name=HOSTILE, glb=head_glb(head, tiny_parameters(head)), photo=picture, overlay=picture,
                      numbers=[("status", HOSTILE)])
    return viewer_page([face, face]).decode()


def test_the_page_holds_its_faces_and_nothing_from_elsewhere(head, page):
    held = json.loads(re.search(r'id="faces">(.*?)</script>', page, re.S)[1])
    assert len(held) == 2 and base64.b64decode(held[0]["glb"]) == head_glb(head, tiny_parameters(head))
    assert held[0]["photo"].startswith("data:image/jpeg;base64,")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 2                                                   # three.js and ours: the stranger's is text
    policy = html.unescape(re.search(r'Content-Security-Policy" content="(.*?)"', page)[1])
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe-inline" not in policy.partition("script-src")[2]
    assert not re.search(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?:https?:)?//', page)
    assert "\u202e" not in page


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium is installed; without it the page cannot be driven")
def test_the_page_works_in_a_browser_without_network(tmp_path, page, head):
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    driven = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    driven = driven.replace("</body>", f"<script>{DRIVER}</script></body>")
    (tmp_path / "page.html").write_text(driven)
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--window-size=500,400",
         "--virtual-time-budget=20000", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r'<pre id="report">(.*?)</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    said = json.loads(html.unescape(found[1]))
    assert said["moved"] and said["weight"] == 1 and said["rest"] and said["wires"]
    assert said["sliders"] == len(head.expression_names)
    assert said["outside"] == 0 and said["refused"] == ""
    assert said["title"] == said["name"] == HOSTILE.replace("\u202e", "\\u202e")
