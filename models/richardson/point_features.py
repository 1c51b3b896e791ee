"""What a pretrained trunk sees at the points of a face that feedback shows: the small CoarseNet, for two cores.

A ResNet that starts from nothing sees too few pictures there to tell people apart, and a linear map of a whole picture's features
has to tell where the face lies before it tells whose it is. The feedback says where. For each of some points of the mean face the
pixels whose PNCC is near it are averaged: of two maps of MediaPipe's mesh trunk (`fitkit.models.coarsenet.mesh_trunk`), of the
normals, and of their places. What is left to learn is how far the features are from those of a right feedback: shape-indexed
features, as of cascaded regression (Cao et al. 2014, "Face alignment by explicit shape regression").
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from fitkit.models.mediapipe.blaze import BlazeBlock, Stem, activate
from fitkit.models.mediapipe.facemesh_v2 import FaceMeshV2, load_facemesh_v2
from fitkit.models.parameters import with_parameters
from fitkit.models.richardson.feedback import NORMALS, PNCC, FeedbackHead

SIDE = 192                  # of the picture, pixels: MediaPipe's own
MAPS = (7, 10)              # blocks whose maps are taken, counted from 0: 24x24x64 and 12x12x128
SPREAD = 20.0               # deviation of their values over pictures, roughly: they are divided by it
POINTS = 96                 # of the face, at most 16 mm apart; chosen, not tuned
STEP = 4                    # pixels between those at which the maps are looked at
REACH = 6.0                 # mm on the mean head, deviation of the Gaussian about each point; chosen, not tuned
FEW = 0.3                   # pixels: a point that fewer of them see counts as more than half hidden
GEOMETRY = 2 + 3 + 1        # numbers of a point beside its features: place, normal, how visible it is
PLACE = 0.25                # sides of the crop, the unit of a place
FEATURES = POINTS * (64 + 128 + GEOMETRY)
BENT = 4                    # units of the bent layer per number of the narrow one; chosen


class PointTable(nnx.Variable):
    """Points of the mean head that are looked at; not trained."""


class PointReader(nnx.Module):
    """A trunk, its features at points, and from these through a narrow layer, straight and bent, to outputs that begin at 0."""

    def __init__(self, width: int, outputs: int, *, rngs: nnx.Rngs):
        """`width`: of the narrow layer."""
        self.stem = Stem(16, size=3)
        self.stem_slope = nnx.Param(np.zeros(16, np.float32))
        self.blocks = nnx.List([BlazeBlock(i, o, stride=s, prelu=True, inner=True) for i, o, s in FaceMeshV2.TRUNK[:MAPS[-1] + 1]])
        self.code = PointTable(np.zeros((POINTS, 3), np.float32))          # PNCC of the points
        self.extent = PointTable(np.ones(3, np.float32))                   # of the mean head, mm: that is PNCC 1
        self.narrow = nnx.Linear(FEATURES, width, rngs=rngs)
        self.straight = nnx.Linear(width, outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.mixed = nnx.Linear(width, BENT * width, rngs=rngs)
        self.bent = nnx.Linear(BENT * width, outputs, kernel_init=nnx.initializers.zeros, use_bias=False, rngs=rngs)

    def __call__(self, pictures: Float[Array, "b 192 192 7"]) -> Float[Array, "b o"]:
        """The outputs of pictures with feedback (`network_picture`)."""
        return self.told(self.features(pictures))

    def told(self, features: Float[Array, "b f"]) -> Float[Array, "b o"]:
        """The outputs of features."""
        narrow = self.narrow(features)
        return self.straight(narrow) + self.bent(jax.nn.relu(self.mixed(narrow)))

    def features(self, pictures: Float[Array, "b 192 192 7"]) -> Float[Array, "b f"]:
        """Of each point what the trunk sees there, its place, normal and visibility; nothing where the feedback hides it."""
        weights, visible = self.attention(pictures)
        count, side = len(pictures), SIDE // STEP
        found = []
        for values in self.maps(pictures[..., 0]):
            large = jax.image.resize(values, (count, side, side, values.shape[-1]), "linear")
            found.append(jnp.einsum("bkp,bpc->bkc", weights, large.reshape(count, side * side, -1)))
        middles = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        places = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2) / PLACE
        normals = looked_at(pictures[..., NORMALS]).reshape(count, side * side, 3)
        found += [jnp.einsum("bkp,pc->bkc", weights, places), jnp.einsum("bkp,bpc->bkc", weights, normals), visible[..., None]]
        return jnp.concatenate([each.reshape(count, -1) for each in found], axis=1)

    def attention(self, pictures: Float[Array, "b 192 192 7"]) -> tuple[Float[Array, "b k p"], Float[Array, "b k"]]:
        """How much each point looks at each pixel of the coarse grid, and how visible it is: the sum of its weights, 0 to 1."""
        seen = looked_at(pictures)
        count = len(seen)
        covered = (jnp.sum(jnp.square(seen[..., PNCC]), axis=-1) > 0.0).reshape(count, 1, -1)
        code = (seen[..., PNCC] * self.extent[...]).reshape(count, -1, 3)
        points = self.code[...] * self.extent[...]
        apart = (jnp.sum(jnp.square(code), -1)[:, None] + jnp.sum(jnp.square(points), -1)[None, :, None]
                 - 2.0 * jnp.einsum("bpc,kc->bkp", code, points, precision="highest"))
        weights = jnp.where(covered, jnp.exp(-jnp.maximum(apart, 0.0) / (2.0 * REACH**2)), 0.0)
        total = jnp.sum(weights, axis=-1)
        return weights / (total + FEW)[..., None], total / (total + FEW)

    def maps(self, grey: Float[Array, "b 192 192"]) -> list[Float[Array, "b u u c"]]:
        """The trunk's maps of grey pictures in [0, 1]."""
        x, found = activate(self.stem(jnp.repeat(grey[..., None], 3, axis=-1)), self.stem_slope), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in MAPS:
                found.append(x / SPREAD)
        return [jax.lax.stop_gradient(each) for each in found]


def looked_at(pictures: Float[Array, "b s s c"]) -> Float[Array, "b s/4 s/4 c"]:
    """Every fourth pixel."""
    return pictures[:, STEP // 2::STEP, STEP // 2::STEP]


def prepare_points(reader: PointReader, head: FeedbackHead) -> None:
    """Put MediaPipe's weights into the trunk, and points of a head into the table.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    mesh = with_parameters(FaceMeshV2(), load_facemesh_v2())
    reader.stem, reader.stem_slope = mesh.stem, mesh.stem_slope
    reader.blocks = nnx.List(list(mesh.trunk)[:MAPS[-1] + 1])
    reader.code[...] = head.code[spread_points(np.asarray(head.mean), POINTS)]
    reader.extent[...] = head.extent


def spread_points(vertices: Float[np.ndarray, "v 3"], count: int) -> Int[np.ndarray, " k"]:
    """Vertices far from each other: from the foremost on, always the one that is farthest from those that are chosen."""
    chosen = [int(vertices[:, 2].argmax())]
    distance = np.linalg.norm(vertices - vertices[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(vertices - vertices[chosen[-1]], axis=1))
    return np.array(chosen)
