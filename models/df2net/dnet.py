"""D-Net (Zeng et al. 2019, Section 3.3): a picture of a face to its dense depth, by pix2pix's U-Net (Isola et al. 2017).

In: sRGB in [-1, 1], the surroundings of the face black. Out: depth in half crops (`depth_frame`), linear. Convolutions carry no
bias. `train()` normalises by the batch, `eval()` by running statistics. The network that comes with fitkit is also given the depth
of the head that CoarseNet sees in the picture, and tells what is to be added to it: that is far less to learn.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt32

from fitkit.models.blocks.up_convolution import UpConvolution, depth_to_space, space_to_depth, without_blocks

# Pix2pix's
SLOPE = 0.2             # of LeakyReLU on the way down
WIDEST = 8              # channels of a level, in widths, at most
DROPPED = 3             # levels on the way up, from the lowest, that are dropped out
MOMENTUM, EPSILON = 0.99, 1e-5      # of batch norms, per step; the first chosen: batches are small here


@dataclasses.dataclass(frozen=True, kw_only=True)
class DNetSizes:
    """Sizes of the network. The defaults are those that come with fitkit; `PAPER` has the paper's: 54,594,784 parameters.

    Attributes:
        side: of its pictures, pixels.
        width: channels of the first level.
        levels: halvings.
        block: side of blocks of pixels that enter as channels of one, and leave so: full resolution is dear.
        dropout: share of numbers that are dropped in training.
        started: whether it is given the depth of a coarse head, to which it adds; the paper's sees the picture alone.
    """

    side: int = 128
    width: int = 20
    levels: int = 5
    block: int = 2
    dropout: float = 0.0
    started: bool = True


PAPER = DNetSizes(side=512, width=64, levels=8, block=1, dropout=0.5, started=False)


class _Down(nnx.Module):
    """LeakyReLU, a strided 4x4 convolution, batch norm; the first level has the convolution alone, the last no norm."""

    def __init__(self, inputs: int, outputs: int, *, first: bool, last: bool, rngs: nnx.Rngs):
        self.first = first
        self.conv = nnx.Conv(inputs, outputs, (4, 4), strides=2, padding=((1, 1), (1, 1)), use_bias=False, rngs=rngs)
        self.norm = None if first or last else _norm(outputs, rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h//2 w//2 o"]:
        x = self.conv(x if self.first else nnx.leaky_relu(x, SLOPE))
        return x if self.norm is None else self.norm(x)


class _Up(nnx.Module):
    """ReLU, a transposed 4x4 convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.conv = UpConvolution(inputs, outputs, use_bias=False, rngs=rngs)
        self.norm = _norm(outputs, rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b 2*h 2*w o"]:
        return self.norm(self.conv(nnx.relu(x)))


class DNet(nnx.Module):
    """The network."""

    def __init__(self, sizes: DNetSizes, *, rngs: nnx.Rngs):
        self.block, self.dropout, self.started = sizes.block, sizes.dropout, sizes.started
        widths = [sizes.width * min(2**level, WIDEST) for level in range(sizes.levels)]
        inputs = [(3 + sizes.started) * sizes.block**2, *widths]
        self.down = nnx.List([_Down(before, width, first=not level, last=level == sizes.levels - 1, rngs=rngs)
                              for level, (before, width) in enumerate(zip(inputs, widths, strict=False))])
        upwards = [*widths[-2::-1], sizes.width]
        joined = [widths[-1], *(2 * width for width in upwards[:-1])]
        self.up = nnx.List([_Up(before, width, rngs=rngs) for before, width in zip(joined, upwards, strict=True)])
        tail = (sizes.width, sizes.width, sizes.width // 2, sizes.block**2)
        # of a network that is started the last layer begins near 0: an untrained one answers the start
        first = [nnx.initializers.variance_scaling(size, "fan_in", "truncated_normal")
                 for size in (1.0, 1.0, 0.01 if sizes.started else 1.0)]
        self.tail = nnx.List([nnx.Conv(before, width, (3, 3), use_bias=False, kernel_init=begun, rngs=rngs)
                              for before, width, begun in zip(tail, tail[1:], first, strict=False)])
        self.norms = nnx.List([_norm(width, rngs) for width in tail[1:-1]])

    def __call__(self, pictures: Float[Array, "b h w 3"], *, start: Float[Array, "b h w"] | None = None,
                 drop: UInt32[Array, " 2"] | None = None) -> Float[Array, "b h w"]:
        """Depth, half crops.

        Args:
            pictures: sRGB in [-1, 1].
            start: depth of a coarse head, continued beyond its face (`depth_frame.continued`); of a network that is started.
            drop: data of a random key, by which dropout drops; without it nothing is dropped.

        Raises:
            ValueError: height or width is no multiple of `block` times 2 for each level.
        """
        multiple = self.block * 2 ** len(self.down)
        if pictures.shape[1] % multiple or pictures.shape[2] % multiple:
            raise ValueError(f"a picture of {pictures.shape[1]} x {pictures.shape[2]} pixels; both must be multiples of {multiple}")
        if self.started:
            if start is None:
                raise ValueError("this network adds to the depth of a coarse head: start")
            pictures = jnp.concatenate([pictures, start[..., None]], axis=-1)
        x, beside = space_to_depth(pictures, block=self.block), []
        for level in self.down:
            x = level(x)
            beside.append(x)
        x = beside.pop()
        for number, upwards in enumerate(self.up):
            x = upwards(x)
            if drop is not None and self.dropout and number < DROPPED:
                x = _dropped(drop, x, number, self.dropout)
            x = jnp.concatenate([x, beside.pop()], axis=-1) if beside else x
        for conv, norm in zip(self.tail, [*self.norms, None], strict=True):
            x = conv(nnx.relu(x))
            x = x if norm is None else norm(x)
        found = depth_to_space(x, block=self.block)
        found = (found if self.block == 1 else without_blocks(found))[..., 0]
        return found if start is None or not self.started else start + found


def _dropped(key: UInt32[Array, " 2"], x: Float[Array, "b h w c"], level: int, share: float) -> Float[Array, "b h w c"]:
    """A share of numbers put to 0, the others as much larger (Srivastava et al. 2014)."""
    kept = jax.random.bernoulli(jax.random.fold_in(jax.random.wrap_key_data(key), level), 1.0 - share, x.shape)
    return jnp.where(kept, x / (1.0 - share), 0.0)


def _norm(width: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(width, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)
