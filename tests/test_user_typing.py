"""`py.typed` keeps its word: a user's script type-checks under `mypy --strict`, and a mistake in it is found."""

import os
import subprocess
import sys

import pytest

from tests.fixtures.source_tree import ROOT

SCRIPT = '''
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import fitkit
from fitkit.export import write_glb
from fitkit.geometry import head_rotation, project, to_view_frame, vertex_normals
from fitkit.morphable import MorphableModel, shape, vertex_albedo
from fitkit.rendering import interpolate, light_from_direction, rasterize, render_color, sample_texture, shade

result: fitkit.FitResult = fitkit.fit("me.jpg", recipe="inverse_rendering")
head: MorphableModel = fitkit.load_head("makehuman")
camera = fitkit.Camera(focal=jnp.float32(900), principal=jnp.full(2, 64.0), rotation=head_rotation(0.3, 0.0, 0.0),
                       translation=jnp.array([0.0, 0.0, 1000.0]), perspective=True)


def draw(vertices: Float[Array, "V 3"], texture: Float[Array, "h w 3"]) -> Float[Array, "H W 3"]:
    pixels, depth = project(camera, vertices)
    fragments = rasterize(pixels, depth, head.triangles, height=128, width=128)
    normals = to_view_frame(camera, vertex_normals(vertices, head.triangles))
    uv = interpolate(fragments, pixels, depth, head.triangles, head.uv, value_triangles=head.uv_triangles)
    over_pixels = interpolate(fragments, pixels, depth, head.triangles, normals)
    return shade(sample_texture(texture, uv), over_pixels, light_from_direction(jnp.array([0.0, 0.5, 1.0])))


def loss(identity: Float[Array, " I"], target: Float[Array, "H W 3"]) -> Float[Array, ""]:
    vertices = shape(head, identity, jnp.zeros(len(head.expression)))
    albedo = vertex_albedo(head, jnp.zeros(len(head.albedo)))
    picture, mask, _ = render_color(head, vertices, albedo, camera, result.parameters.light, height=128, width=128)
    return jnp.sum(jnp.where(mask[..., None], picture - target, 0.0) ** 2)


identity = head.identity_mean
target = draw(shape(head, identity, jnp.zeros(len(head.expression))), jnp.full((64, 64, 3), 0.5))
for _ in range(3):
    identity = identity - 1e-3 * jax.grad(loss)(identity, target)
focal: Float[Array, ""] = fitkit.geometry.rescale_camera(camera, 0.5, 0.0).focal
write_glb("me.glb", head, result.parameters)
'''

# each line holds one mistake
MISTAKES = '''
import fitkit
from fitkit.rendering import rasterise
fitkit.fit("me.jpg", size="large")
fitkit.load_head(3)
fitkit.geometry.project(1.0, fitkit.load_head("makehuman").mean)
'''


def test_a_users_script_type_checks_strictly(tmp_path):
    pytest.importorskip("mypy", reason="mypy is in the extra `dev`")
    (tmp_path / "user.py").write_text(SCRIPT)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary", "--no-pretty",
               "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "user.py", "mistakes.py"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True)
    assert not done.stderr and done.returncode == 1, done.stderr + done.stdout
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert not [line for line in errors if not line.startswith("mistakes.py")], done.stdout
    assert {int(line.split(":")[1]) for line in errors} == {3, 4, 5, 6}, done.stdout
