"""What people asked of other tools in public, done again with fitkit on a small input of its kind: commands and outcomes.

    python -m tests.measurements.requests [--only TEXT ...] [--keep FOLDER]

Each row is a request (project and number of the issue), the commands as a user types them, and what came of them: the figure that
shows it, or the sentence with which it fails. Inputs are the portrait of the notebooks, its fitted head drawn by known cameras, a
scan, a depth image and a mesh made of that head, and heads in the published layouts (these need ICT-FaceKit, see
`tests/fixtures/ict_archive.py`). A command is run once however many rows need it; all together are ten fits.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pygltflib
import trimesh
from PIL import Image

import fitkit
from fitkit.cli.main import run
from fitkit.evaluation.metrics.alignment import align_points
from tests.fixtures.brought_inputs import FOCAL, INPUTS, SIDE, Missing

PATIENCE = "3000"       # s of --timeout: on a busy machine a command's own 120 s would be the outcome
FIRST = "fitkit fit me.png --outputs all,rig,vrm,print"


class Fails(Exception):
    """A command fails, with its sentence."""


class Study:
    """Runs commands in a folder, each once, and makes the inputs that they name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._done: dict[str, tuple[list[dict], str] | Fails] = {}
        self.fits = 0

    def run(self, command: str) -> tuple[list[dict], str]:
        """What a command prints: the objects of a fit's --json, and its text.

        Raises:
            Fails: it fails.
        """
        if command not in self._done:
            self._done[command] = self._run(command)
        done = self._done[command]
        if isinstance(done, Fails):
            raise done
        return done

    def results(self, command: str = FIRST) -> list[Path]:
        """The result folders of a fit."""
        return [self.folder / each["folder"] for each in self.run(command)[0]]

    def result(self, command: str = FIRST) -> Path:
        """The one result folder of a fit."""
        return self.results(command)[0]

    def _run(self, command: str) -> tuple[list[dict], str] | Fails:
        words = shlex.split(command)[1:]
        for word in words:
            for part in word.split(":"):
                if part in INPUTS and not (self.folder / part).exists():
                    INPUTS[part](lambda: fitkit.load(self.result()), self.folder / part)
        words = [str(self.result()) if word == "ME" else word for word in words]
        fit = words[0] == "fit"
        self.fits += fit
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = run([*words, "--json", "--timeout", PATIENCE] if fit else words)
            except SystemExit as ended:      # an option that there is not
                status = ended.code
        objects = [json.loads(line) for line in out.getvalue().splitlines()] if fit and not status else []
        if status or any(each["code"] for each in objects):
            said = [line for line in (err.getvalue() + out.getvalue()).splitlines() if "error" in line or "nrecognized" in line]
            return Fails(" ".join(said[-1].split()).partition("; there are --")[0] if said else f"exit status {status}")
        return objects, out.getvalue()


def content(folder):
    """fit.json."""
    return json.loads((folder / "fit.json").read_text())


def angles(study, commands):
    """Both angles are there, and differ where the face is not in the middle."""
    camera = content(study.result(commands[0]))["camera"]
    yaw, seen = camera["euler_degrees"]["yaw"], camera["view_degrees"]["yaw"]
    assert abs(yaw - seen) > 0.1
    return f"yaw {yaw:.1f} degrees to the camera's axes, {seen:.1f} to the line of sight"


def known_cameras(study, commands):
    """One expression, and one head in space, where the cameras say that it is: the drawn head's frame is the world's."""
    results, true = study.results(commands[0]), fitkit.load(study.result()).landmarks_mesh
    first, second = (np.asarray(fitkit.load(folder).parameters.expression) for folder in results)
    np.testing.assert_allclose(first, second, atol=1e-6)
    world = np.array(content(results[0])["world"]["head_to_world"])
    found = fitkit.load(results[0]).landmarks_mesh @ world[:3, :3].T + world[:3, 3]
    return f"one expression in both; in space, nothing aligned, 68 points {np.linalg.norm(found - true, axis=1).mean():.1f} mm off"


def measured(study, commands):
    """Sizes in millimetres, each with its deviation."""
    path = study.result(commands[0]) / "measurements.json"
    assert path.exists(), "there is no measurements.json"
    found = json.loads(path.read_text())
    measures = found["measures"]
    assert len(measures) >= 12, f"{len(measures)} measures"
    told = ", ".join(f"{name.replace('_', ' ')} {measures[name]['mm']:.1f} +- {measures[name]['deviation']:.1f}"
                     for name in ("interpupillary_distance", "face_width", "outer_eye_distance"))
    return f"{len(measures)} measures with deviations, mm: {told}"


def one_texture(study, commands):
    """The photos' textures are one; it shows more of the face than either photo."""
    maps = [np.asarray(Image.open(folder / "albedo.png").convert("RGB"), float) for folder in study.results(commands[0])]
    assert np.abs(maps[0] - maps[1]).max() <= 1, f"the textures differ by {np.abs(maps[0] - maps[1]).mean():.1f} of 255"
    seen = study.result(commands[0]) / "seen.png"
    share = f"; {100 * np.mean(np.asarray(Image.open(seen)) > 127):.0f} % of its texels were seen" if seen.exists() else ""
    return f"one texture of {maps[0].shape[0]} texels{share}"


def fine_texture(study, commands):
    """As many texels as asked for."""
    side = Image.open(study.result(commands[0]) / "albedo.png").width
    assert side == 2048, f"{side} texels"
    return f"{side} texels a side; " + ", ".join(sorted(
        path.name for path in study.result(commands[0]).iterdir() if path.name in ("occlusion.png", "normals.png", "seen.png")))


def two_meshes(study, commands):
    """The same person at rest and with the expression."""
    folder = study.result(commands[0])
    lines = [(folder / name).read_text().splitlines() for name in ("mesh.obj", "mesh_neutral.obj")]
    bent, rest = (np.array([line.split()[1:4] for line in each if line.startswith("v ")], float) for each in lines)
    faces, others = ([line for line in each if line.startswith("f ")] for each in lines)
    moved = np.linalg.norm(bent - rest, axis=1).max()
    assert faces == others and moved > 0.5
    return f"mesh.obj and mesh_neutral.obj, the same {len(faces)} faces; the expression moves vertices by up to {moved:.1f} mm"


def skeleton(study, commands):
    """Joints that move the vertices; an avatar with presets."""
    folder = study.result(commands[0])
    rigged, avatar = (pygltflib.GLTF2.load_binary(str(folder / name)) for name in ("mesh_rigged.glb", "avatar.vrm"))
    names = [rigged.nodes[joint].name for joint in rigged.skins[0].joints]
    presets = avatar.extensions["VRMC_vrm"]["expressions"]["preset"]
    assert len(names) >= 4 and len(presets) >= 10
    return f"joints {', '.join(names)}; VRM 1.0 with {len(presets)} presets"


def closed(study, commands):
    """A solid."""
    mesh = trimesh.load(study.result(commands[0]) / "print.stl")
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    return f"watertight, {mesh.volume / 1e3:.0f} ml, {len(mesh.faces)} triangles"


def flame_parameters(study, commands):
    """Coefficients under FLAME's names."""
    said = study.run(commands[-1])[1]
    arrays = np.load(study.folder / "flame.npz", allow_pickle=False)
    return f"{', '.join(sorted(arrays.files)[:6])}, ...{said.partition('flame.npz')[2].strip()}"


def distance_to(study, folder):
    """Mean distance of the fitted face's points from the true ones after a similarity, mm."""
    found, true = fitkit.load(folder).landmarks_mesh, fitkit.load(study.result()).landmarks_mesh
    return np.linalg.norm(align_points(found, true, scale=True).apply(found) - true, axis=1).mean()


def scanned(study, commands):
    """The scan's face."""
    return f"68 points {distance_to(study, study.result(commands[0])):.2f} mm from the scanned ones, after a similarity"


def transferred(study, commands):
    """The person on the mesh's own vertices, with expressions and texture."""
    study.run(commands[-1])
    scene = pygltflib.GLTF2().load(str(study.folder / "patient.glb"))
    mesh = scene.meshes[0]
    assert scene.images and len(mesh.primitives[0].targets) == 52
    return f"{scene.accessors[mesh.primitives[0].attributes.POSITION].count} vertices, 52 expressions, a texture"


def on_gnm(study, commands):
    """A photo fitted by GNM's head."""
    state = content(study.result(commands[-1]))
    off = np.linalg.norm(np.array(state["landmarks"]["detected"]) - np.array(state["landmarks"]["photo"]), axis=1).mean()
    return f"{state['status']}; points {off:.1f} pixels from the detected ones, in a photo of {state['photo']['width']}"


@dataclasses.dataclass(frozen=True)
class Request:
    where: str                                              # project and number
    wish: str
    commands: tuple[str, ...]
    look: Callable[[Study, tuple[str, ...]], str]           # raises AssertionError where the outcome is not what was asked for


SIZED = ("fitkit fit me.png --recipe landmarks --interpupillary 63 --out sized",)
TOGETHER = ("fitkit fit front.png side.png --same-person --set stages=1 --out together",)
FINE = ("fitkit fit me.png --set stages=1 --texture-size 2048 --outputs all,occlusion --out fine",)
REQUESTS = (
    Request("mediapipe#4759", "angles of the head to the camera, and to the line of sight", (FIRST,), angles),
    Request("VHAP#49", "several calibrated cameras at one instant",
            ("fitkit fit front.png side.png --same-person --camera cameras.json --unit mm --set stages=1 --outputs params"
             " --out instant",), known_cameras),
    Request("mediapipe#4385", "true distance of the eyes, from the iris",
            ("fitkit fit me.png --recipe landmarks --iris --out iris",), measured),
    Request("mediapipe#1891", "true size between two points of the face",
            ("fitkit fit me.png --recipe landmarks --length eye_right_outer,eye_left_outer,92 --out length",), measured),
    Request("face-api.js#614", "sizes of a face in millimetres", SIZED, measured),
    Request("MICA#66", "a head in true size", SIZED, measured),
    Request("eos#366", "one texture from several photos", TOGETHER, one_texture),
    Request("NextFace#2", "one texture from several photos", TOGETHER, one_texture),
    Request("FFHQ-UV#73", "a texture of more texels", FINE, fine_texture),
    Request("NextFace#51", "a texture of more texels", FINE, fine_texture),
    Request("pixel3dmm#4", "neutral and expressive OBJ", (FIRST,), two_meshes),
    Request("EXT_skeleton_humanoid#8", "a head with a skeleton", (FIRST,), skeleton),
    Request("makehuman#255", "a closed mesh to print", (FIRST,), closed),
    Request("DECA#46", "FLAME's parameters",
            (FIRST, "fitkit assets import head flame2023.pkl", "fitkit convert ME --to flame:flame2023.pkl --out flame.npz"),
            flame_parameters),
    Request("eos#70", "a fit to a 3D scan", ("fitkit fit scan.ply --recipe scan --outputs params --out scanned",), scanned),
    Request("eos#153", "a fit to depth",
            (f"fitkit fit depth.png --recipe scan --camera {FOCAL:.0f},{FOCAL:.0f},{SIDE // 2},{SIDE // 2} --colours front.png"
             " --outputs params --out depth",), scanned),
    Request("facescape#115", "a fit to a raw scan", ("fitkit fit scan.ply --recipe scan --outputs params --out scanned",), scanned),
    Request("eos#363", "the face on a patient's own mesh", (FIRST, "fitkit transfer ME --to patient.obj --out patient.glb"),
            transferred),
    Request("GNM#53", "MediaPipe's points on GNM's head",
            ("fitkit assets import head gnm_head.npz",
             "fitkit fit me.png --head gnm:gnm_head.npz --recipe landmarks --outputs params --out gnm"), on_gnm),
    Request("GNM#92", "a fitter for GNM's head",
            ("fitkit assets import head gnm_head.npz",
             "fitkit fit me.png --head gnm:gnm_head.npz --recipe landmarks --outputs params --out gnm"), on_gnm),
)


def outcome(study: Study, request: Request) -> str:
    """What became of a request, in a cell of the table."""
    try:
        for command in request.commands:
            study.run(command)
        return f"works: {request.look(study, request.commands)}"
    except Missing as missing:
        return f"not done: {missing}"
    except Fails as fails:
        return f"**fails**: {fails}"
    except Exception as error:      # what a look does not find is a failure of the request, whatever it is
        return f"**fails**: {type(error).__name__}: {' '.join(str(error).split())[:160]}"


def shown(commands: tuple[str, ...]) -> str:
    """The commands in a cell."""
    return "<br>".join(f"`{command.replace('ME', 'out/me-...')}`" for command in commands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="requests whose project or number holds this text")
    parser.add_argument("--keep", metavar="FOLDER", help="folder to work in, which stays, and whose fits are used again")
    options = parser.parse_args()
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        folder.mkdir(exist_ok=True)
        os.environ["XDG_DATA_HOME"] = str(folder / "data")
        study = Study(folder)
        print("| request | what was asked for | commands | outcome |\n|---|---|---|---|")
        for request in REQUESTS:
            if any(text in request.where for text in options.only):
                print(f"| {request.where} | {request.wish} | {shown(request.commands)} | {outcome(study, request)} |", flush=True)
        print(f"\n{study.fits} runs of fits, {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
