"""How well the embedded head is laid over ICT-FaceKit's mean head without marks: ours, beside `trimesh.registration.nricp_amberg`.

    python -m tests.measurements.head_registration [--amberg]

Both start from the same modes and the same detected points. Printed: distance of the face from ICT's skin; of the 68 points' eyes,
mouth and nose from the vertices that ICT marks; how far ICT's own ARKit expressions are from the embedded head's, carried over
(root mean square over the face, mean of the expressions that both have): the better points correspond, the nearer they come; and
CPU time.
"""

import argparse
import time

import numpy as np
import trimesh

from fitkit.models.heads import ict, ict_source, makehuman
from fitkit.models.heads.importing import registration
from fitkit.models.heads.source import PARTS
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.morphable.registration import (
    AnchorPoints,
    Surface,
    displace,
    fit_modes,
    nearest,
    normals_of,
    points_on,
    vertex_weights,
)
from tests.fixtures.ict_archive import ARCHIVE


def main():
    """Register and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--amberg", action="store_true", help="trimesh's, too: minutes")
    arguments = parser.parse_args()
    own, data = makehuman.load(), ict_source.read(ARCHIVE)
    mean, triangles = data.neutral.astype(float), data.triangles[:ict.OPAQUE_TRIANGLES]
    starts, names = zip(*ict.PARTS, strict=True)
    part = np.array([PARTS.index(name) for name in names])[np.searchsorted(starts, np.arange(len(mean)), side="right") - 1]
    theirs = Surface(vertices=mean, triangles=triangles, allowed=np.flatnonzero((part[triangles] == 0).all(1)))
    own_mean, own_triangles = np.asarray(own.mean, float), np.asarray(own.triangles)
    chosen = np.flatnonzero(np.asarray(triangles_of_part(own, "skin")))
    skin, ours = own_triangles[chosen], Surface(vertices=own_mean, triangles=own_triangles, allowed=chosen)
    there = registration._seen_points(mean, triangles, registration._plain_colours(mean, part), theirs, name="ICT's head")
    here = registration._seen_points(
        own_mean, own_triangles, registration._plain_colours(own_mean, registration._vertex_parts(own)), ours, name="ours")
    both = here[2] & there[2] & (np.asarray(own.dense_weight) > 0)
    anchors = (AnchorPoints(corners=own_triangles[here[0][both]], barycentric=here[1][both]),
               points_on(theirs, there[0][both], there[1][both]))
    weights, started = vertex_weights(own), time.process_time()
    modes, placing = fit_modes(own, skin, weights, theirs, anchors)
    middle = time.process_time()
    ways = {"modes": (modes, middle - started),
            "ours": (displace(modes, skin, weights, theirs, anchors, anchor_weight=registration.ANCHOR_WEIGHT), 0.0)}
    ways["ours"] = ways["ours"][0], time.process_time() - started
    if arguments.amberg:
        used, corners = np.unique(skin, return_inverse=True)
        row = {int(triangle): index for index, triangle in enumerate(chosen)}
        marks = np.array([row[int(triangle)] for triangle in here[0][both]]), here[1][both]
        started = time.process_time()
        moved = modes.copy()
        moved[used] = trimesh.registration.nricp_amberg(
            trimesh.Trimesh(modes[used], corners.reshape(-1, 3), process=False),
            trimesh.Trimesh(mean, triangles[theirs.allowed], process=False), source_landmarks=marks, target_positions=anchors[1],
            use_faces=False)      # nearest vertices: for nearest triangles it needs rtree
        ways["amberg"] = moved, ways["modes"][1] + time.process_time() - started
    for name, (registered, seconds) in ways.items():
        print(f"{name:8}{scores(own, data, registered, skin, theirs, placing[:3, :3])}  {seconds:.0f} s")


def scores(own, data, registered, skin, theirs, turn):
    """The figures of a registration, as text."""
    face, normals = np.asarray(region_mask(own, "fit_skin")) > 0.5, normals_of(registered, skin)
    triangle, share, _ = nearest(registered[face], normals[face], theirs)
    gap = np.linalg.norm(points_on(theirs, triangle, share) - registered[face], axis=1)
    corners = np.asarray(own.triangles)[np.asarray(own.landmarks.triangle)]
    marks = np.einsum("nk,nkd->nd", np.asarray(own.landmarks.barycentric, float), registered[corners])
    off = np.linalg.norm(marks - data.neutral[data.landmarks], axis=1)
    errors = []
    for name, move in zip(map(ict.arkit_name, data.expression_names), data.expression, strict=True):
        if name in own.expression_names:
            expected = np.einsum("nk,nkd->nd", share, move[theirs.triangles[triangle]])
            carried = np.asarray(own.expression[own.expression_names.index(name)], float)[face] @ turn.T
            size = (carried * expected).sum() / max((carried * carried).sum(), 1e-9)      # the two move by different amounts
            errors.append(np.sqrt(np.square(expected - size * carried).sum(1).mean()))
    return (f"skin {gap.mean():.3f} mm, 99 % under {np.percentile(gap, 99):.2f}; eyes {off[36:48].mean():.2f}, mouth"
            f" {off[48:].mean():.2f}, nose {off[27:36].mean():.2f} mm; expressions {np.mean(errors):.3f} mm")


if __name__ == "__main__":
    main()
