"""DFDN's networks (Chen et al. 2019, Section 4.1): PDIM, PDRM and the PatchGAN that judges them.

    planes -> PDIM -> 64 coefficients -> PCA -> broad displacement; with the planes -> PDRM -> displacement

In: patches of planes (`inputs.PLANES`), in the paper the photo's V alone. Out: displacement in units of `UNIT`. Counts of the
paper's sizes: U-Net of PDIM 54,413,313, its dense layers 136,875,584, PDRM 29,242,369, PatchGAN 2,765,505. Where paper and
published code differ: dense layers have ReLUs (paper; the code's are leaky), gradients reach PDIM through PDRM (code).
"""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.up_convolution import UpConvolution
from fitkit.models.dfdn.inputs import PLANES, UNIT_TEXEL

UNIT = 2.0              # mm of displacement that the networks call 1; chosen: wrinkles are up to 1.5 mm deep
LEAK = 0.2              # slope of the leaky ReLUs
WIDEST = 8              # times the first layer's channels that any layer has at most
EPSILON = 1e-5          # of batch normalisation; PyTorch's


@dataclasses.dataclass(frozen=True, kw_only=True)
class DfdnSizes:
    """Sizes of PDIM and PDRM. The defaults are those that come with fitkit; `PAPER` has the paper's.

    Attributes:
        side: of a patch, texels.
        planes: how many of `inputs.PLANES` are given, from the first on: the paper's one, or all.
        components: PCA coefficients.
        pdim_width: channels of the first layer of PDIM's U-Net; 0 for no PDIM: PDRM then starts from nothing.
        pdim_levels: halvings of it.
        pool: side of the blocks of its map whose means the dense layers are given.
        hidden: sizes of the dense layers before the last.
        pdrm_width: channels of the first layer of PDRM.
        pdrm_levels: halvings of it.
        pdrm_fine: channels of PDRM's layers at the patch's own texels, beside its U-Net, which sees every second one at best; 0 for
            none, as in the paper, whose texels are four times as fine.
    """

    side: int = 64
    planes: int = len(PLANES)
    components: int = 64
    pdim_width: int = 12
    pdim_levels: int = 5
    pool: int = 2
    hidden: tuple[int, ...] = (256, 128)
    pdrm_width: int = 12
    pdrm_levels: int = 5
    pdrm_fine: int = 12


PAPER = DfdnSizes(side=256, planes=1, pdim_width=64, pdim_levels=8, pool=1, hidden=(2048, 1024, 512), pdrm_width=64, pdrm_levels=6,
                  pdrm_fine=0)


class PixUNet(nnx.Module):
    """The U-Net of pix2pix (Isola et al. 2017): 4x4 convolutions of stride 2 down and up, joined level by level."""

    def __init__(self, inputs: int, outputs: int, *, width: int, levels: int, rngs: nnx.Rngs):
        """`inputs`, `outputs`: channels; `width`: of the first layer; `levels`: halvings."""
        widths = [width * min(2**level, WIDEST) for level in range(levels)]
        self.down = nnx.List([_halving(before, after, rngs=rngs)
                              for before, after in zip((inputs, *widths), widths, strict=False)])
        self.down_norm = nnx.List([_norm(each, rngs=rngs) for each in widths[1:-1]])
        joined = [each * (1 if level == levels - 1 else 2) for level, each in enumerate(widths)]
        self.up = nnx.List([UpConvolution(before, after, rngs=rngs)
                            for before, after in zip(joined, (outputs, *widths), strict=False)])
        self.up_norm = nnx.List([_norm(each, rngs=rngs) for each in widths[:-1]])

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """Same size; the last layer is linear. Height and width are multiples of `2 ** levels`."""
        beside: list[Array] = []
        for level, down in enumerate(self.down):
            x = down(nnx.leaky_relu(x, LEAK) if level else x)
            if 0 < level < len(self.down) - 1:
                x = self.down_norm[level - 1](x)
            beside.append(x)
        y = beside.pop()
        for level in range(len(self.up) - 1, -1, -1):
            y = self.up[level](nnx.relu(y))
            if level:
                y = jnp.concatenate([beside.pop(), self.up_norm[level - 1](y)], axis=-1)
        return y


class Pdim(nnx.Module):
    """Partial detail inference module: planes of a patch to its PCA coefficients."""

    def __init__(self, sizes: DfdnSizes, *, rngs: nnx.Rngs):
        self.sizes, self.solved = sizes, _solved(sizes)
        self.unet = PixUNet(sizes.planes, 1, width=sizes.pdim_width, levels=sizes.pdim_levels, rngs=rngs)
        given = (sizes.side // sizes.pool) ** 2 + (sizes.components if self.solved else 0)
        widths = (*sizes.hidden, sizes.components * (2 if self.solved else 1))
        self.dense = nnx.List([nnx.Linear(before, after, rngs=rngs)
                               for before, after in zip((given, *widths), widths, strict=False)])
        if self.solved:
            last = self.dense[-1]
            last.kernel = nnx.Param(jnp.zeros_like(last.kernel.get_value()))

    def __call__(self, planes: Float[Array, "b s s p"], start: Float[Array, "b k"]) -> Float[Array, "b k"]:
        """Coefficients, in their standard deviations.

        Args:
            planes: of the patches.
            start: coefficients of the least squares' displacement, which an untrained network with all planes answers; one without
                does not look at them.
        """
        seen = jnp.tanh(self.unet(planes))[..., 0]
        block = self.sizes.pool
        means = seen.reshape(len(seen), self.sizes.side // block, block, self.sizes.side // block, block).mean((2, 4))
        x = means.reshape(len(seen), -1).astype(jnp.float32)
        x = jnp.concatenate([x, start], axis=-1) if self.solved else x
        for layer in self.dense[:-1]:
            x = nnx.relu(layer(x))
        found = self.dense[-1](x)
        if not self.solved:
            return found
        added, gain = jnp.split(found, 2, axis=-1)
        return start * (1.0 + gain) + added


class Pdrm(nnx.Module):
    """Partial detail refinement module: a U-Net of planes and broad displacement, and layers of single texels beside it."""

    def __init__(self, sizes: DfdnSizes, *, rngs: nnx.Rngs):
        self.fine, inputs, outputs = sizes.pdrm_fine, 1 + sizes.planes, 2 if _solved(sizes) else 1
        self.unet = PixUNet(inputs, self.fine or outputs, width=sizes.pdrm_width, levels=sizes.pdrm_levels, rngs=rngs)
        self.first = nnx.Conv(inputs, self.fine, (3, 3), rngs=rngs) if self.fine else None
        self.last = nnx.Conv(2 * self.fine, outputs, (3, 3), rngs=rngs) if self.fine else None
        if _solved(sizes):
            last = self.last or self.unet.up[0]
            last.kernel = nnx.Param(jnp.zeros_like(last.kernel.get_value()))

    def __call__(self, x: Float[Array, "b s s p"]) -> Float[Array, "b s s o"]:
        """Same size; the last layer is linear."""
        found = self.unet(x)
        if self.first is None or self.last is None:
            return found
        return self.last(nnx.relu(jnp.concatenate([found, self.first(x)], axis=-1)))


class Dfdn(nnx.Module):
    """PDIM, PCA and PDRM: the generator of Eq. 6."""

    def __init__(self, sizes: DfdnSizes, *, rngs: nnx.Rngs):
        self.sizes, self.solved = sizes, _solved(sizes)
        self.pdim = Pdim(sizes, rngs=rngs) if sizes.pdim_width else None
        self.pdrm = Pdrm(sizes, rngs=rngs)
        # of the training patches; a column is a component times its standard deviation, in units of `UNIT`
        self.basis = nnx.BatchStat(jnp.zeros((sizes.side**2, sizes.components)))

    def __call__(self, planes: Float[Array, "b s s p"]) -> tuple[Float[Array, "b s s"], Float[Array, "b s s"]]:
        """Displacement outwards by PDIM, and by PDRM, in units of `UNIT`.

        The paper's PDRM answers by itself. One with all planes begins with what PDIM says, and weighs it with the displacement that
        explains the shading by least squares.
        """
        solved = planes[..., -1] * (UNIT_TEXEL / UNIT) if self.solved else jnp.zeros(planes.shape[:-1])
        broad = jnp.zeros(planes.shape[:-1])
        if self.pdim is not None:
            basis = self.basis.get_value()
            broad = (self.pdim(planes, coefficients(basis, solved)) @ basis.T).reshape(broad.shape)
        found = self.pdrm(jnp.concatenate([broad[..., None], planes], axis=-1)).astype(jnp.float32)
        if not self.solved:
            return broad, jnp.tanh(found[..., 0])
        return broad, broad + found[..., 0] + found[..., 1] * (solved - broad)


class PatchGan(nnx.Module):
    """The discriminator of pix2pix, three layers of stride 2: V and displacement of a patch to a score for each part of it."""

    def __init__(self, *, width: int, rngs: nnx.Rngs):
        """`width`: channels of the first layer; the paper's has 64."""
        widths = (2, width, 2 * width, 4 * width, 8 * width, 1)
        strides = (2, 2, 2, 1, 1)
        self.layers = nnx.List([_halving(before, after, stride=stride, rngs=rngs)
                                for before, after, stride in zip(widths, widths[1:], strides, strict=False)])
        self.norms = nnx.List([_norm(each, rngs=rngs) for each in widths[2:-1]])

    def __call__(self, value: Float[Array, "b s s"], displacement: Float[Array, "b s s"]) -> Float[Array, "b n n"]:
        """Scores, as logits; displacement in units of `UNIT`."""
        x = nnx.leaky_relu(self.layers[0](jnp.stack([value, displacement], axis=-1)), LEAK)
        for layer, norm in zip(self.layers[1:-1], self.norms, strict=True):
            x = nnx.leaky_relu(norm(layer(x)), LEAK)
        return self.layers[-1](x)[..., 0].astype(jnp.float32)


def coefficients(basis: Float[Array, "n k"], patches: Float[Array, "b s s"]) -> Float[Array, "b k"]:
    """Coefficients of the nearest combination of a basis with orthogonal columns; 0 of a column of zeros."""
    squares = jnp.sum(jnp.square(basis), axis=0)
    return patches.reshape(len(patches), -1) @ (basis / jnp.where(squares > 0, squares, 1.0))


def _solved(sizes: DfdnSizes) -> bool:
    """Whether the planes hold the least squares' displacement, the last of them."""
    return sizes.planes == len(PLANES)


def _halving(inputs: int, outputs: int, *, stride: int = 2, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (4, 4), strides=stride, padding=[(1, 1), (1, 1)], rngs=rngs)


def _norm(channels: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=EPSILON, rngs=rngs)
