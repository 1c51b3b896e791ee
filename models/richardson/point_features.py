"""A small iterative CoarseNet for two cores: how far off is each point that the feedback shows, and which face is then likeliest.

A ResNet that starts from nothing sees too few pictures on two cores to tell people apart. But the feedback says where in the
picture each point of the face should be; what is left to see is how far off it is, and that is learned from few pictures:

    pictures, feedback -> features of each point [b, k, f]: the pixels whose PNCC is near it are averaged, of three maps of
                          MediaPipe's mesh trunk, which is frozen, of normals and of places
    features           -> how far off it is [b, k, 2], mm: a matrix for each point (`recipes/train/richardson_coarse/points.py`)
    how far off        -> r, in closed form: a step of Gauss-Newton towards the face that is likeliest under these and r_0,
                          each as sure as it has proved on people that were not learned from

Shape-indexed features are those of cascaded regression (Cao et al. 2014, "Face alignment by explicit shape regression").
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.geometry.camera import project
from fitkit.models.coarsenet.estimate import split_outputs
from fitkit.models.coarsenet.network import CoarseNetConfig
from fitkit.models.mediapipe.blaze import BlazeBlock, Stem, activate
from fitkit.models.mediapipe.facemesh_v2 import FaceMeshV2, load_facemesh_v2
from fitkit.models.parameters import with_parameters
from fitkit.models.richardson.feedback import NORMALS, PNCC, POINTS, FeedbackHead, posed

SIDE = 192                  # of the picture, pixels: MediaPipe's own
MAPS = (4, 7, 10)           # blocks whose maps are taken at points, counted from 0: 48x48x32, 24x24x64 and 12x12x128
SPREAD = 20.0               # deviation of their values over pictures, roughly: they are divided by it
STEP = 4                    # pixels between those at which the feedback is looked at
REACH = 6.0                 # mm on the mean head, deviation of the Gaussian about each point; chosen, not tuned
FEW = 0.3                   # pixels: a point that fewer of them see counts as more than half hidden
HIDDEN = 0.5                # visibility below which a point tells nothing; above it counts the more, the more is seen of it
PLACE = 0.25                # sides of the crop, the unit of a place
GEOMETRY = 2 + 3 + 1        # numbers of a point beside its features: place, normal, how visible it is
FEATURES = 32 + 64 + 128 + GEOMETRY     # of a point


class PointStatistics(nnx.Variable):
    """Solved for, not trained by steps."""


class PointReader(nnx.Module):
    """A frozen trunk and a matrix for each point; untrained ones find no point off, and know nothing."""

    def __init__(self, outputs: int) -> None:
        """`outputs`: numbers of r."""
        self.stem = Stem(16, size=3)
        self.stem_slope = nnx.Param(np.zeros(16, np.float32))
        self.blocks = nnx.List([BlazeBlock(i, o, stride=s, prelu=True, inner=True) for i, o, s in FaceMeshV2.TRUNK[:MAPS[-1] + 1]])
        self.kernel = nnx.Param(np.zeros((POINTS, FEATURES, 2), np.float32))           # mm
        self.bias = nnx.Param(np.zeros((POINTS, 2), np.float32))
        self.doubt = PointStatistics(np.ones(outputs, np.float32))      # what r_0 errs by, in deviations of r over faces
        self.covariance = PointStatistics(1e4 * np.eye(2 * POINTS, dtype=np.float32))      # of errors, mm^2; x, y of each point

    def __call__(self, pictures: Float[Array, "b 192 192 7"], last: Float[Array, "b o"], first: Float[Array, "b o"],
                 head: FeedbackHead, *, deviation: Float[Array, " o"], layout: CoarseNetConfig) -> Float[Array, "b o"]:
        """The next r; `deviation` is that of r over faces, `layout` says how its numbers stand."""
        features = self.features(pictures, head)
        off = self.off(features)

        def one(each: tuple[Array, Array, Array, Array]) -> Float[Array, " o"]:
            return likeliest(*each, head, deviation=deviation * self.doubt[...], covariance=self.covariance[...], layout=layout)

        # One after the other: two stacked triangular solves at once, as gradients have them, wait for each other for ever where
        # the processor has two threads (jaxlib 0.10.2, ParallelBatchMap)
        return jax.lax.map(one, (off, features[..., -1], last, first))

    def off(self, features: Float[Array, "b k f"]) -> Float[Array, "b k 2"]:
        """How far off each point is: its place minus that in the feedback, mm in the picture's plane."""
        return jnp.einsum("bkf,kfo->bko", features, self.kernel[...], precision="highest") + self.bias[...]

    def features(self, pictures: Float[Array, "b 192 192 7"], head: FeedbackHead) -> Float[Array, "b k f"]:
        """Of each point what the trunk sees there, its place, normal and visibility; nothing where the feedback hides it."""
        weights, visible = attention(pictures, head)
        side = SIDE // STEP
        found = [jnp.einsum("bkyx,byxc->bkc", _pooled(weights, values.shape[1]), values) for values in self.maps(pictures[..., 0])]
        middles = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        places = np.stack(np.meshgrid(middles, middles), axis=-1) / PLACE
        found += [jnp.einsum("bkyx,yxc->bkc", weights, places),
                  jnp.einsum("bkyx,byxc->bkc", weights, _looked_at(pictures[..., NORMALS])), visible[..., None]]
        return jnp.concatenate(found, axis=-1)

    def maps(self, grey: Float[Array, "b 192 192"]) -> list[Float[Array, "b u u c"]]:
        """The trunk's maps of grey pictures in [0, 1]."""
        x, found = activate(self.stem(jnp.repeat(grey[..., None], 3, axis=-1)), self.stem_slope), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in MAPS:
                found.append(x / SPREAD)
        return found


def attention(pictures: Float[Array, "b 192 192 7"], head: FeedbackHead) -> tuple[Float[Array, "b k s s"], Float[Array, "b k"]]:
    """How much each point looks at each pixel of a grid of every fourth, and how visible it is: the sum of its weights, 0 to 1."""
    seen = _looked_at(pictures[..., PNCC])
    covered = jnp.any(seen > 0.0, axis=-1)[:, None]
    code, points = seen * head.extent, head.code[head.points] * head.extent
    apart = (jnp.sum(jnp.square(code), -1)[:, None] + jnp.sum(jnp.square(points), -1)[None, :, None, None]
             - 2.0 * jnp.einsum("byxc,kc->bkyx", code, points, precision="highest"))
    weights = jnp.where(covered, jnp.exp(-jnp.maximum(apart, 0.0) / (2.0 * REACH**2)), 0.0)
    total = jnp.sum(weights, axis=(2, 3))
    return weights / (total + FEW)[..., None, None], total / (total + FEW)


def point_places(numbers: Float[Array, " o"], head: FeedbackHead, layout: CoarseNetConfig) -> Float[Array, "k 2"]:
    """Where a face has the points, in sides of the crop."""
    points = head._replace(mean=head.mean[head.points], basis=head.basis[:, head.points])
    vertices, camera = posed(points, split_outputs(numbers, layout), side=1)
    return project(camera, vertices)[0]


def likeliest(off: Float[Array, "k 2"], visible: Float[Array, " k"], last: Float[Array, " o"], first: Float[Array, " o"],
              head: FeedbackHead, *, deviation: Float[Array, " o"], covariance: Float[Array, "k*2 k*2"], layout: CoarseNetConfig
              ) -> Float[Array, " o"]:
    """The face that is likeliest where points were found off, to first order about the last: one step of Gauss-Newton.

        argmin over d of (J d - off)^T S^-1 (J d - off) + |(last + d - first) / deviation|^2

    J is the derivative of the points' places by r, and S the covariance, larger the less is seen of a point.

    Args:
        off: of the points, mm in the picture's plane.
        visible: 0 to 1.
        last: r of the feedback.
        first: r_0.
        head: whose points they are.
        deviation: of what r_0 errs by.
        covariance: of what `off` errs by.
        layout: of r.
    """
    size = jnp.exp(last[-1])                    # sides of the crop per mm
    slopes = jax.jacfwd(lambda numbers: point_places(numbers, head, layout))(last).reshape(-1, len(last)) / size
    slopes = slopes * deviation[None]
    share = jnp.repeat(jnp.clip((visible - HIDDEN) / (1.0 - HIDDEN), 1e-3, 1.0), 2)
    spread = covariance + jnp.diag(jnp.diag(covariance) * (1.0 / share - 1.0))
    factor = jax.scipy.linalg.cho_factor(spread)
    weighted = jax.scipy.linalg.cho_solve(factor, slopes)
    before = (last - first) / deviation
    matrix = jnp.dot(slopes.T, weighted, precision="highest") + jnp.eye(len(last))
    right = jnp.dot(weighted.T, off.reshape(-1), precision="highest") - before
    return last + deviation * jax.scipy.linalg.solve(matrix, right, assume_a="pos")


def with_pretrained_trunk(reader: PointReader) -> PointReader:
    """The reader with MediaPipe's weights in its trunk.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    mesh = with_parameters(FaceMeshV2(), load_facemesh_v2())
    reader.stem, reader.stem_slope = mesh.stem, mesh.stem_slope
    reader.blocks = nnx.List(list(mesh.trunk)[:MAPS[-1] + 1])
    return reader


def _looked_at(pictures: Float[Array, "b s s c"]) -> Float[Array, "b s/4 s/4 c"]:
    return pictures[:, STEP // 2::STEP, STEP // 2::STEP]


def _pooled(weights: Float[Array, "b k s s"], side: int) -> Float[Array, "b k u u"]:
    """Weights of the values of a coarser map that say the same as `weights` of the map enlarged linearly."""
    fine = weights.shape[-1]
    if fine == side:
        return weights
    at = np.clip((np.arange(fine) + 0.5) / fine * side - 0.5, 0, side - 1)
    enlargement = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)
    return jnp.einsum("bkyx,yu,xv->bkuv", weights, enlargement, enlargement)
