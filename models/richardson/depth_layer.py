"""The rendering layer between CoarseNet and FineNet (Richardson et al. 2017, Section 4.1): coefficients and pose to a depth map.

    depth, seen = depth_layer(model, identity, expression, camera, side=200)

Forward, the posed mesh (Eq. 5) goes through a z-buffer, and each pixel takes the depth of what it sees of it (Eq. 6). Backward, a
pixel's gradient goes to the depths of its three vertices, weighted by its barycentric coordinates, which are held, and from there
to coefficients and pose (Eq. 7); hidden vertices get none, and neither do places in the picture.

Two things in Eq. 5 are taken otherwise: the mean shape, which it leaves out, is added; and where it scales x and y by f to pixels
and leaves z as it is, which makes slopes of the depth map wrong by f, depth stays in mm here and slopes are taken in pixels per
pixel (`fitkit.geometry.depth_maps`).
"""

from jaxtyping import Array, Float

from fitkit.geometry.camera import project
from fitkit.morphable.model import shape
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.types import Camera, Fragments, MorphableModel


def depth_layer(model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"], camera: Camera, *, side: int
                ) -> tuple[Float[Array, "s s"], Fragments]:
    """Camera z in mm, 0 where nothing is seen, and what each pixel sees.

    Args:
        model: the head.
        identity: coefficients, standard deviations.
        expression: weights.
        camera: of the picture, pixels; weak perspective in the paper.
        side: of the picture, pixels.
    """
    pixels, depth = project(camera, shape(model, identity, expression))
    seen = rasterize(pixels, depth, model.triangles, height=side, width=side, perspective=camera.perspective)
    values = interpolate(seen, pixels, depth, model.triangles, depth[:, None], perspective=camera.perspective,
                         hold_barycentrics=True)
    return values[..., 0], seen
