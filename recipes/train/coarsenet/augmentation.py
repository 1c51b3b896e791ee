"""How stored pictures are changed before the network sees them: in every step anew, inside the compiled step.

The crop is moved and scaled by more than detectors err, and mirrored; what surrounds the face, and the heads' bald scalp with it,
is painted over, as hair and a backdrop of photographs would look; light, colour, blur, noise and compression are those of old and
small photos. All amounts are chosen, not tuned, but for what a comment says.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from fitkit.labels.drawing import FACE, HEAD
from fitkit.models.coarsenet.upright import MARGIN, change_of_crop, rotation, seen_in, upright_picture

# Crop: deviation of the logarithm of its side, and most; deviation of its middle in sides, and most. A face detector's box errs
# by 8 % and 3 % of a crop, the 68 points' by 4 % and 2 % (fitkit.models.coarsenet.crop)
SCALE, SHIFT = (0.08, 0.2), (0.03, 0.09)
# Error of a first look: deviation of the lean, degrees, of x and y, sides, and of the logarithm of the size, on held-out `random`;
# share of pictures where it is larger, and how many times
FIRST_LOOK, ASTRAY = (1.5, 0.008, 0.008, 0.015), (0.3, 2.5)
CHANGED = 0.7                   # share of pictures that are changed in other ways than by the crop
# Surroundings
BACKDROP = 0.5                  # share of pictures whose surroundings are painted over
BARE = 0.3                      # of these, where the head stays
GRIDS = ((3, 3), (9, 9), (30, 30), (40, 4), (4, 40))      # rows and columns of grids of noise: clouds, grain, strands
FRINGE, FRINGE_DEPTH = 0.25, 0.33           # share of pictures with hair from above; down to this share of the crop
CURTAIN, CURTAIN_DEPTH = 0.2, 0.24          # share with hair from a side; inwards to this share of the crop
ERASED, ERASED_SIDE = 0.15, (0.08, 0.35)     # share with a rectangle of one colour before the face; its sides in sides of the crop
# Light and colour
GREY = 0.2                      # share of pictures without colour
# Deviations of logarithms: of all values, of each channel, of the exponent, of a slope
GAIN, TINT, GAMMA, RAMP = 0.15, 0.08, 0.2, 0.3
SATURATION = 0.3                # deviation of its logarithm
# Sharpness, pixels of the crop: of every picture, and of a share of them up to
SHARP, BLURRED, BLUR = (0.35, 0.6), 0.25, 2.2
NOISE = 0.06                    # deviation of the noisiest
PRESSED, PRESSURE = 0.25, 0.12   # share of compressed pictures; coarsest step of a coefficient of 8 x 8 pixels, of values in [0, 1]


class Augmented(NamedTuple):
    """Pictures as the network sees them; a point at p of a stored picture lies at `scale * turn p + offset` sides of the crop."""

    pictures: Float[Array, "b s s 3"]       # sRGB in [0, 1]
    scale: Float[Array, " b"]
    offset: Float[Array, "b 2"]
    mirrored: Bool[Array, " b"]             # shown mirrored; places are those before
    turn: Float[Array, "b 2 2"]             # of the picture


def plain_crops(pictures: UInt8[Array, "b t t 3"], *, side: int, margin: float = 1.0) -> Augmented:
    """Pictures of held-out faces: the crop that its points ask for, nothing changed, `margin` times as large about its middle."""
    stored, count = pictures.shape[1], len(pictures)
    length, shown_length = stored / MARGIN, margin * stored / MARGIN
    weights = _sampling(jnp.asarray((stored - shown_length) / 2), jnp.asarray(shown_length), jnp.asarray(SHARP[0]), stored=stored,
                        side=side)
    shown = jnp.einsum("yi,bijc,xj->byxc", weights, pictures / jnp.float32(255), weights)
    offset = -(stored - length) / 2 / length
    return Augmented(pictures=shown, scale=jnp.full(count, 1 / length), offset=jnp.full((count, 2), offset),
                     mirrored=jnp.zeros(count, bool), turn=jnp.tile(jnp.eye(2), (count, 1, 1)))


def augment(key: Int[Array, "b 2"], pictures: UInt8[Array, "b t t 3"], mask: UInt8[Array, "b t t"], *, side: int,
            changed: bool = True, pose: Float[Array, "b 6"] | None = None) -> Augmented:
    """Stored pictures and their masks as the network is to see them.

    Args:
        key: the data of a random key each.
        pictures: stored, sRGB.
        mask: their bits.
        side: of the network's pictures, pixels.
        changed: whether more is changed than the crop.
        pose: of the faces in their plain crops: then the crop is the upright one of a first look that errs as first looks do.
    """
    keys = jax.random.wrap_key_data(key.astype(jnp.uint32))
    one = functools.partial(_augment, side=side, changed=changed)
    if pose is None:
        return Augmented(*jax.vmap(one)(keys, pictures, mask))
    return Augmented(*jax.vmap(functools.partial(_augment_upright, side=side, changed=changed))(keys, pictures, mask, pose))


def _augment_upright(key: Array, picture: Array, mask: Array, pose: Array, *, side: int, changed: bool) -> tuple[Array, ...]:
    for_whether, for_error = jax.random.split(jax.random.fold_in(key, 2))
    error = jnp.array(FIRST_LOOK) * _bounded(for_error, 1.0, 3.0, shape=(4,))
    seen = seen_in(pose) + error * jnp.where(jax.random.uniform(for_whether) < ASTRAY[0], ASTRAY[1], 1.0)
    layers = jnp.concatenate([picture, *(255 * ((mask & bit) > 0)[..., None] for bit in (HEAD, FACE))], axis=-1)
    upright = upright_picture(layers.astype(jnp.float32), seen, side=len(picture), margin=MARGIN)
    bits = (upright[..., 3] > 127) * HEAD + (upright[..., 4] > 127) * FACE
    shown, _, _, mirrored, _ = _augment(key, upright[..., :3], bits.astype(jnp.uint8), side=side, changed=changed, moved=False)
    length = len(picture) / MARGIN
    times, offset = change_of_crop(seen)
    turn = rotation(seen[0])
    return shown, times / length, offset - times * turn @ jnp.full(2, (MARGIN - 1) / 2), mirrored, turn


def _augment(key: Array, picture: Array, mask: Array, *, side: int, changed: bool, moved: bool = True) -> tuple[Array, ...]:
    for_crop, for_blur, for_around, for_light, for_noise, for_press, for_mirror, for_whether = jax.random.split(key, 8)
    stored = picture.shape[0]
    length = stored / MARGIN * jnp.exp(moved * _bounded(for_crop, *SCALE))
    corner = (stored - length) / 2 + moved * length * _bounded(jax.random.fold_in(for_crop, 1), *SHIFT, shape=(2,))
    sharpness, chance, strength, alone = jax.random.uniform(for_blur, (4,))
    blur = SHARP[0] + (SHARP[1] - SHARP[0]) * sharpness + BLUR * strength * (chance < BLURRED) * changed
    rows, columns = (_sampling(corner[axis], length, blur, stored=stored, side=side) for axis in (1, 0))
    kept = (mask & jnp.where(alone < BARE, HEAD, FACE).astype(jnp.uint8)) > 0
    layers = jnp.concatenate([picture / jnp.float32(255), kept[..., None].astype(jnp.float32)], axis=-1)
    sampled = jnp.einsum("yi,ijc,xj->yxc", rows, layers, columns)
    shown = sampled[..., :3]
    if changed:
        shown = _lit(for_light, _surround(for_around, shown, sampled[..., 3]))
        for_level, for_pixels = jax.random.split(for_noise)
        shown += NOISE * jnp.square(jax.random.uniform(for_level)) * jax.random.normal(for_pixels, (side, side, 1))
        chance, step = jax.random.uniform(for_press, (2,))
        shown = _compressed(shown, jnp.where(chance < PRESSED, PRESSURE * step, 0.0))
        shown = jnp.where(jax.random.uniform(for_whether) < CHANGED, shown, sampled[..., :3])
    shown = jnp.clip(shown, 0.0, 1.0)
    mirrored = jax.random.uniform(for_mirror) < 0.5
    return jnp.where(mirrored, shown[:, ::-1], shown), 1 / length, -corner / length, mirrored, jnp.eye(2)


def _bounded(key: Array, deviation: float, most: float, *, shape: tuple[int, ...] = ()) -> Array:
    return jnp.clip(deviation * jax.random.normal(key, shape), -most, most)


def _sampling(corner: Array, length: Array, blur: Array, *, stored: int, side: int) -> Float[Array, "side stored"]:
    """Weights that sample a line of `stored` pixels at `side` places from `corner` on, by Gaussians; the edge is repeated."""
    step = length / side
    at = jnp.clip(corner + (jnp.arange(side) + 0.5) * step, 0.5, stored - 0.5)
    distance = (at[:, None] - (jnp.arange(stored) + 0.5)[None]) / (blur * step)
    weights = jnp.exp(-0.5 * jnp.square(distance))
    return weights / (jnp.sum(weights, axis=1, keepdims=True) + 1e-12)


def _surround(key: Array, picture: Float[Array, "s s 3"], kept: Float[Array, "s s"]) -> Float[Array, "s s 3"]:
    """The picture with its surroundings painted over, with hair that falls into the face, and with something before it."""
    side = len(kept)
    for_share, for_back, for_hair, for_lines, for_box = jax.random.split(key, 5)
    y, x = jnp.meshgrid(*[(jnp.arange(side) + 0.5) / side] * 2, indexing="ij")
    painted, fringed, curtained, left, erased = jax.random.uniform(for_share, (5,))
    place, slope, wave, inwards, lean = jax.random.uniform(for_lines, (5,))
    picture = _over(picture, _texture(for_back, side, darkest=0.02), jnp.where(painted < BACKDROP, 1.0 - kept, 0.0))
    border = FRINGE_DEPTH * place + 0.3 * (slope - 0.5) * (x - 0.5) + 0.03 * jnp.sin(9 * (x + wave))
    fringe = jnp.where(fringed < FRINGE, jax.nn.sigmoid((border - y) * side), 0.0)
    from_side = jnp.where(left < 0.5, x, 1.0 - x)
    edge = CURTAIN_DEPTH * inwards + 0.2 * (lean - 0.5) * (y - 0.5)
    curtain = jnp.where(curtained < CURTAIN, jax.nn.sigmoid((edge - from_side) * side), 0.0)
    picture = _over(picture, _texture(for_hair, side, darkest=0.005), jnp.maximum(fringe, curtain))
    for_size, for_middle, for_colour = jax.random.split(for_box, 3)
    size = ERASED_SIDE[0] + (ERASED_SIDE[1] - ERASED_SIDE[0]) * jax.random.uniform(for_size, (2,))
    middle = jax.random.uniform(for_middle, (2,))
    box = (jnp.abs(x - middle[0]) < size[0] / 2) & (jnp.abs(y - middle[1]) < size[1] / 2) & (erased < ERASED)
    return jnp.where(box[..., None], jax.random.uniform(for_colour, (1, 1, 3)), picture)


def _over(below: Float[Array, "s s 3"], above: Float[Array, "s s 3"], opacity: Float[Array, "s s"]) -> Float[Array, "s s 3"]:
    return below + opacity[..., None] * (above - below)


def _texture(key: Array, side: int, *, darkest: float) -> Float[Array, "s s 3"]:
    """A colour, varied by noise of several widths and by strands; log-uniform in brightness from `darkest` on."""
    for_level, for_tint, for_amounts, *for_grids = jax.random.split(key, 3 + len(GRIDS))
    level = jax.random.uniform(for_level, minval=np.log(darkest), maxval=0.0)
    amounts = 0.6 * jnp.square(jax.random.uniform(for_amounts, (len(GRIDS),)))
    logarithm = level + jnp.broadcast_to(0.35 * jax.random.normal(for_tint, (3,)), (side, side, 3))
    for amount, for_grid, (rows, columns) in zip(amounts, for_grids, GRIDS, strict=True):
        noise = amount * jax.random.normal(for_grid, (rows, columns))
        logarithm += jnp.einsum("yi,ij,xj->yx", _enlargement(rows, side), noise, _enlargement(columns, side))[..., None]
    return jnp.minimum(jnp.exp(logarithm / 2.2), 1.0)       # 2.2: of a picture's coding


@functools.cache
def _enlargement(count: int, side: int) -> Float[np.ndarray, "side count"]:
    """Weights that enlarge a line of `count` values to `side`, linearly."""
    at = np.clip((np.arange(side) + 0.5) / side * count - 0.5, 0, count - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))).astype(np.float32)


def _lit(key: Array, picture: Float[Array, "s s 3"]) -> Float[Array, "s s 3"]:
    """Other exposure, white, contrast and saturation, or none, and a light that falls off across the picture."""
    side = len(picture)
    for_gain, for_tint, for_gamma, for_ramp, for_grey, for_saturation = jax.random.split(key, 6)
    ramp = RAMP * jax.random.normal(for_ramp, (2,))
    line = (jnp.arange(side) + 0.5) / side - 0.5
    logarithm = GAIN * jax.random.normal(for_gain) + TINT * jax.random.normal(for_tint, (1, 1, 3)) + (
        ramp[0] * line[:, None, None] + ramp[1] * line[None, :, None])
    exponent = jnp.exp(GAMMA * jax.random.normal(for_gamma))
    saturation = jnp.where(jax.random.uniform(for_grey) < GREY, 0.0, jnp.exp(SATURATION * jax.random.normal(for_saturation)))
    grey = jnp.mean(picture, axis=-1, keepdims=True)
    coloured = jnp.maximum(grey + saturation * (picture - grey), 1e-3)
    return jnp.exp(exponent * jnp.log(coloured) + logarithm)


def _compressed(picture: Float[Array, "s s 3"], step: Float[Array, ""]) -> Float[Array, "s s 3"]:
    """Cosine transforms of 8 x 8 pixels, rounded to steps that grow with the frequency, as JPEG does; step 0: unchanged."""
    side = len(picture)
    padded = jnp.pad(picture, ((0, -side % 8), (0, -side % 8), (0, 0)), mode="edge")      # as JPEG fills its last blocks
    blocks = padded.reshape(len(padded) // 8, 8, len(padded) // 8, 8, 3)
    basis = jnp.asarray(_cosines())
    coefficients = jnp.einsum("iujvc,fu,gv->ifjgc", blocks, basis, basis)
    steps = step * (1.0 + jnp.arange(8)[:, None] + jnp.arange(8)[None])[None, :, None, :, None] + 1e-6
    coefficients = jnp.round(coefficients / steps) * steps
    return jnp.einsum("ifjgc,fu,gv->iujvc", coefficients, basis, basis).reshape(padded.shape)[:side, :side]


@functools.cache
def _cosines() -> Float[np.ndarray, "8 8"]:
    """The orthonormal basis of the discrete cosine transform of 8 values, a row each."""
    basis = np.cos(np.pi * (np.arange(8) + 0.5) * np.arange(8)[:, None] / 8) / 2
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
