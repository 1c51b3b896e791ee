"""`fitkit transfer` onto foreign meshes: how near a person's face and expressions stay, beside `trimesh.registration.nricp_amberg`.

    python -m tests.measurements.transfers PHOTO [--glb FILE.glb ...] [--amberg] [--sheet FILE.png]

Meshes: a person of ICT-FaceKit (seed 3, head and eyeballs), a head of 500 vertices decimated from another (seed 5, from
`tests/fixtures/low_poly.py`), and files of your own. For each: how near the registration says that the faces come; then, neutral
and with three expressions, the mean distance of the mesh's face vertices from the person's skin, and of the person's face from the
mesh, after a rigid alignment of the faces. `--amberg`: all of it a second time with the non-rigid part of the registration by
trimesh. `--sheet`: person, then the meshes, each neutral and with each expression, at last turned.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

import fitkit
from fitkit.errors import FitkitError
from fitkit.evaluation.metrics.alignment import align_points, align_surface
from fitkit.evaluation.registration_floor import head_arrays
from fitkit.geometry.point_to_mesh import closest, make_surface
from fitkit.io.array_files.meshes import read_own_mesh
from fitkit.io.images import write_image
from fitkit.models import shipped
from fitkit.models.heads import ict, ict_source
from fitkit.models.heads.importing import registration, transfer
from fitkit.morphable.model import shape
from fitkit.morphable.regions import region_mask
from fitkit.rendering.novel_view import render_novel_view
from tests.fixtures.ict_archive import ARCHIVE, subject_vertices
from tests.fixtures.low_poly import decimated

EXPRESSIONS = {"neutral": {}, "jaw open": {"jawOpen": 0.7}, "smile": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9},
               "closed eyes": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "browInnerUp": 0.8}}
SIDE = 420      # pixels of a picture of the sheet
OURS = registration.displace


def amberg(world, skin, weights, target, anchors, *, anchor_weight):
    """`fitkit.morphable.registration.displace` by trimesh's non-rigid ICP with its own weights."""
    used, corners = np.unique(skin, return_inverse=True)
    rows = {tuple(triangle): row for row, triangle in enumerate(skin)}
    marks = np.array([rows[tuple(triangle)] for triangle in anchors[0].corners]), anchors[0].barycentric
    moved = world.copy()
    moved[used] = trimesh.registration.nricp_amberg(
        trimesh.Trimesh(world[used], corners.reshape(-1, 3), process=False),
        trimesh.Trimesh(target.vertices, target.triangles[target.allowed], process=False), source_landmarks=marks,
        target_positions=anchors[1], use_faces=False)      # nearest vertices: for nearest triangles it needs rtree
    return moved


def meshes(folder, more):
    """Files of meshes, by name."""
    data = ict_source.read(ARCHIVE)
    fields = {"neutral": data.neutral, "identity": data.identity}
    opaque = data.triangles[:ict.OPAQUE_TRIANGLES]
    skin = opaque[(opaque < ict.SKIN).all(1)]
    eyes = [opaque[((opaque >= eye.start) & (opaque < eye.stop)).all(1)] for eye in ict.CORNEAS]
    used, corners = np.unique(np.concatenate([skin, *eyes]), return_inverse=True)
    whole = subject_vertices(fields, 3)[used], corners.reshape(-1, 3)
    for name, (vertices, triangles) in (("ict", whole), ("low", decimated(subject_vertices(fields, 5), skin, 500))):
        lines = [f"v {x / 10:.6f} {y / 10:.6f} {z / 10:.6f}" for x, y, z in vertices]
        (folder / f"{name}.obj").write_text("\n".join(lines + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in triangles]))
        yield name, folder / f"{name}.obj"
    yield from ((Path(place).stem, Path(place)) for place in more)


def bent(model, identity, wanted):
    """Vertices with an expression of ARKit's names, mm."""
    weights = np.zeros(len(model.expression), np.float32)
    for name, weight in wanted.items():
        weights[model.expression_names.index(name)] = weight
    return np.asarray(jax.jit(shape)(model, identity, jnp.asarray(weights)), np.float64)


def gaps(result, found, wanted):
    """Mean distances, mm: of the mesh's face vertices from the person's skin, of the person's face from the mesh."""
    own, mesh = result.model, found.model
    person, moved = bent(own, result.parameters.identity, wanted), bent(mesh, jnp.zeros(0), wanted)
    on_mesh, on_person = (np.asarray(region_mask(head, "fit_skin")) > 0.5 for head in (mesh, own))
    heads = head_arrays(own), head_arrays(mesh)
    skin = make_surface(person, heads[0].triangles)
    start = align_points(heads[0].landmarks(person), heads[1].landmarks(moved), scale=False)
    placed = align_surface(skin, moved[on_mesh], start, scale=False)
    there = placed.undo(moved)
    surface = make_surface(there, heads[1].triangles)
    return float(closest(skin, there[on_mesh])[2].mean()), float(closest(surface, person[on_person])[2].mean())


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("--glb", nargs="*", default=[])
    parser.add_argument("--amberg", action="store_true")
    parser.add_argument("--sheet")
    arguments = parser.parse_args()
    result = fitkit.fit(arguments.photo)
    own, face = result.model, result.parameters
    neutral = np.asarray(jax.jit(shape)(own, face.identity, jnp.zeros_like(face.expression)))
    texture, rows = result.animated_texture(), [looks(own, face, result, result.animated_texture())]
    with tempfile.TemporaryDirectory() as made:
        for name, place in meshes(Path(made), arguments.glb):
            vertices, triangles = read_own_mesh(place, code="E_SCAN")
            for way in ("ours", "amberg")[:1 + arguments.amberg]:
                kept = Path(made) / way      # registrations are kept
                shipped.heads_folder = lambda kept=kept: kept
                registration.displace, started = (OURS if way == "ours" else amberg), time.process_time()
                try:
                    found = transfer.transferred(own, neutral, vertices, triangles)
                except FitkitError as error:
                    print(f"{name} ({len(vertices)} vertices), {way}: {error}", flush=True)
                    continue
                spent = time.process_time() - started
                figures = ", ".join(f"{kind} {'{:.2f} / {:.2f}'.format(*gaps(result, found, wanted))}"
                                    for kind, wanted in EXPRESSIONS.items())
                print(f"{name} ({len(vertices)} vertices), {way}: faces within {found.residual:.2f} mm; {figures} mm;"
                      f" {spent:.0f} s", flush=True)
                if way == "ours":
                    rows.append(looks(found.model, replace(face, identity=jnp.zeros(0)), result, texture))
            if arguments.sheet:
                write_image(arguments.sheet, np.concatenate(rows))


def looks(model, face, result, texture):
    """A row of pictures: each expression, and the last one turned."""
    bare = replace(face, expression=jnp.zeros(len(model.expression)))
    shots = [render_novel_view(model, bare, result.camera, texture=texture, yaw=0, pitch=0, roll=0, expression=wanted, size=SIDE)
             for wanted in EXPRESSIONS.values()]
    turned = render_novel_view(model, bare, result.camera, texture=texture, yaw=35, pitch=0, roll=0, size=SIDE,
                               expression=EXPRESSIONS["smile"])
    return np.concatenate([*shots, turned], axis=1)


if __name__ == "__main__":
    main()
