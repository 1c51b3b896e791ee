"""A photo's skin as an albedo map in the head's UV: the model's colours, with what the photo shows of this skin laid over them.

Photo over fitted light (Guo 2018, Eq. 10) is not yet an albedo: highlights, cast shadows and hair are in it, and the error of
the fitted light. So the quotient is taken relative to the model and split:

    broad     what changes over centimetres is mostly the light's error; a little is kept of what both halves of the face agree on
    fine      moles, lines, lashes, stubble: kept, and blended with the model by region as Guo 2018, Section V-C
    highlight the light's own colour on top of the skin's (dichromatic reflection, Shafer 1985): taken off
    hidden    texels the photo does not show, or shows through hair: the fine part of the mirrored texel, if that is seen

Brows, eyes, lids and lips are the photo's in full. Takes a window of the photo, the depth the head has there and the fitted face;
gives an sRGB map. Used by `pictures.py`. Departures from the model are natural logarithms of linear RGB.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit import camera as cameras
from fitkit.geometry import safe_normalize, vertex_normals
from fitkit.images import linear_to_srgb, srgb_to_linear
from fitkit.morphable import albedo as model_albedo
from fitkit.morphable import shape
from fitkit.shading import sh_irradiance
from fitkit.texture import sample_pixels, values_at_texels, visible_weight
from fitkit.types import Camera, FaceParameters, MorphableModel

TEXTURE = 1024            # side of the map, texels
COARSE = 128              # side on which broad changes are looked at
LEAST_LIGHT = 0.08        # irradiance below which a division says nothing
BROAD = 2.0               # coarse texels: standard deviation of what counts as broad
WIDER = 6.0               # the same, where nothing nearer is seen
STRANGE = (0.22, 0.9)     # departure of a neighbourhood at which it may be hair or shadow: on plain skin, where hair grows
SHARE = (0.35, 0.65)      # of the model in the fine part: plain skin, region `albedo_blend` (Guo 2018, Section V-C)
GLINT = 0.04              # most that skin may be brighter than its surroundings
TINT = 0.6                # how much of the fine part's hue is kept
TONE = (-0.5, 0.05)       # bounds of the whole face's departure in brightness: highlights may not lighten it
MIRRORED = 3.0            # mm: texels that mirror each other on the mean head do so to within this


def complete_albedo(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], model: MorphableModel,
    face: FaceParameters, camera: Camera, region: Float[Array, " V"], grey: Bool[Array, ""], doubled: Bool[Array, ""] = jnp.asarray(False),
) -> Float[Array, "1024 1024 3"]:
    """Albedo map, sRGB in [0, 1].

    Args:
        photo: window of the photo, sRGB.
        depth: camera z of the head in that window, mm, 0 where it is not.
        border: corners (x, y) of the photo in the window's pixels; nothing beyond them is photo.
        model: the head.
        face: its parameters.
        camera: of the window.
        region: per vertex, how much of the photo to take, in [0, 1].
        grey: the photo is black and white: brightness is taken from it, colour from the model.
        doubled: the window shows every pixel of the photo twice as wide and high; it is smoothed.
    """
    # three programs, so that only the small one in the middle is compiled again for another size of window
    texels, covered, masks = _texels(model, face, region)
    seen, trust = _look_up(photo, depth, border, texels, camera, doubled)
    return _blend(texels, covered, masks, seen, trust, face.light, camera, grey)


@jax.jit
def _texels(
    model: MorphableModel, face: FaceParameters, region: Float[Array, " V"]
) -> tuple[Float[Array, "T T 10"], Bool[Array, "T T"], dict[str, Float[Array, "C C"]]]:
    """Position, normal, albedo and region at every texel; on the coarse grid, where the head has what."""
    vertices = shape(model, face.identity, face.expression)
    values = [vertices, vertex_normals(vertices, model.triangles), model_albedo(model, face.albedo), region[:, None]]

    def named(*names: str) -> Float[Array, " V"]:
        rows = [model.regions[index] for index, name in enumerate(model.region_names) if name in names]
        return jnp.max(jnp.stack([jnp.zeros(len(model.mean)), *rows]), 0)

    columns = [named("eyes"), named("brows"), named("lips", "eyelids", "nostrils"), named("beard"), named("lips"),
               named("albedo_blend"), model.mean[:, 0]]
    coarse, there = values_at_texels(model, jnp.stack(columns, -1), size=COARSE)
    eyes, brows, features, beard, lips, blend, side = jnp.moveaxis(coarse, -1, 0)
    # brows seldom lie just where the model has them
    features = jnp.maximum(features, jnp.clip(2.2 * _blurred(brows[..., None], BROAD)[..., 0], 0.0, 1.0))
    twin = there & there[:, ::-1] & (jnp.abs(side + side[:, ::-1]) < MIRRORED)
    masks = {"eyes": eyes, "brows": brows, "features": jnp.maximum(features, eyes), "beard": beard * (1.0 - lips), "blend": blend,
             "twin": twin.astype(side.dtype)}
    return *values_at_texels(model, jnp.concatenate(values, -1), size=TEXTURE), masks


@jax.jit
def _look_up(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], texels: Float[Array, "T T 10"],
    camera: Camera, doubled: Bool[Array, ""],
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    """The photo at every texel, linear RGB, and how squarely it is seen there."""
    points = texels[..., :3]
    pixels = cameras.project(camera, points)[0]
    inside = jnp.all((pixels > border[0]) & (pixels < border[1]), -1)
    weight = visible_weight(points, safe_normalize(texels[..., 3:6]), depth, camera)
    linear, side = srgb_to_linear(photo), jnp.where(doubled, 0.25, 0.0)
    for axis in (0, 1):
        padded = jnp.pad(linear, [(int(axis == k), int(axis == k)) for k in range(3)], mode="edge")
        before, after = (jax.lax.slice_in_dim(padded, k, k + photo.shape[axis], axis=axis) for k in (0, 2))
        linear = linear + side * (before - 2.0 * linear + after)
    return sample_pixels(linear, pixels), jnp.where(inside, weight, 0.0)


@jax.jit
def _blend(
    texels: Float[Array, "T T 10"], covered: Bool[Array, "T T"], masks: dict[str, Float[Array, "C C"]],
    seen: Float[Array, "T T 3"], trust: Float[Array, "T T"], light: Float[Array, "K 3"], camera: Camera, grey: Bool[Array, ""],
) -> Float[Array, "T T 3"]:
    painted = jnp.clip(texels[..., 6:9], 1e-3, 1.0)
    irradiance = sh_irradiance(cameras.to_view(camera, safe_normalize(texels[..., 3:6])), light)
    lit = covered & jnp.all(irradiance > LEAST_LIGHT, -1)
    trust = jnp.where(lit, jnp.clip((trust * texels[..., 9] - 0.1) / 0.25, 0.0, 1.0), 0.0)
    brightness, hue = _departure(seen, painted * jnp.maximum(irradiance, LEAST_LIGHT), grey)
    tone = _tone(brightness, hue, trust * (1.0 - _spread(jnp.maximum(masks["features"], 0.7 * masks["beard"]))))
    brightness, hue = _without_highlights(brightness - tone[0], hue - tone[1:], painted, _spread(1.0 - masks["eyes"]), grey)
    kept, trust = _believed(brightness, hue, trust, covered, masks)
    broad, agreed = _broad(brightness, hue, trust, 1.0 - kept, masks)

    eyes, brows, beard, blend = (_spread(masks[name]) for name in ("eyes", "brows", "beard", "blend"))
    kept_here = _spread(kept)
    limit = GLINT + 0.25 * kept_here + 0.5 * (brows + eyes)
    fine = brightness - _spread(broad[..., 0])
    fine = jnp.where(fine > 0, limit * jnp.tanh(fine / limit), 1.5 * jnp.tanh(fine / 1.5))
    # the hue of what is dark is mostly noise
    tint = (TINT + 0.2 * eyes) * jnp.clip(jnp.exp(fine), eyes, 1.0)
    colour = jnp.clip(hue - _spread(broad[..., 1:]), -0.25 - eyes[..., None], 0.25 + eyes[..., None]) * tint[..., None]
    share = (SHARE[0] + (SHARE[1] - SHARE[0]) * blend - 0.2 * beard) * (1.0 - kept_here)
    fine = jnp.concatenate([fine[..., None], colour], -1) * ((1.0 - share) * trust)[..., None]
    total = _spread(agreed) + fine + fine[:, ::-1] * ((1.0 - trust) * _spread(masks["twin"]))[..., None]
    total = total + ((1.0 - eyes)[..., None] * jnp.concatenate([jnp.clip(tone[:1], *TONE), 0.5 * tone[1:]]))
    completed = painted * jnp.exp(total[..., :1] + total[..., 1:])
    return jnp.where(covered[..., None], linear_to_srgb(jnp.clip(completed, 0.0, 1.0)), 0.0)


def _departure(
    seen: Float[Array, "T T 3"], expected: Float[Array, "T T 3"], grey: Bool[Array, ""]
) -> tuple[Float[Array, "T T"], Float[Array, "T T 3"]]:
    """Logarithm of photo over rendering: of the mean over the channels, and what the channels add to that."""
    seen, expected = jnp.maximum(seen, 1e-4), jnp.maximum(expected, 1e-4)
    brightness = jnp.log(jnp.mean(seen, -1) / jnp.mean(expected, -1))
    hue = jnp.clip(jnp.log(seen / expected) - brightness[..., None], -1.0, 1.0)
    return brightness, jnp.where(grey, 0.0, hue)


def _tone(
    brightness: Float[Array, "T T"], hue: Float[Array, "T T 3"], weight: Float[Array, "T T"]
) -> Float[Array, "4"]:
    """The plain skin's departure as a whole: weighted medians of brightness and hue."""
    weights = _mean_of_blocks(weight[..., None])
    values = _mean_of_blocks(jnp.concatenate([brightness[..., None], hue], -1) * weight[..., None]) / jnp.maximum(weights, 1e-4)
    values, weights = values.reshape(-1, 4), weights.ravel()
    order = jnp.argsort(values, 0)
    total = jnp.cumsum(weights[order], 0)
    middle = jnp.argmax(total >= 0.5 * total[-1], 0)
    median = values[order[middle, jnp.arange(4)], jnp.arange(4)]
    return jnp.where(total[-1, 0] > 1.0, median, 0.0)


def _without_highlights(
    brightness: Float[Array, "T T"], hue: Float[Array, "T T 3"], painted: Float[Array, "T T 3"], skin: Float[Array, "T T"],
    grey: Bool[Array, ""],
) -> tuple[Float[Array, "T T"], Float[Array, "T T 3"]]:
    """Take the light's colour off where it lies on the skin's: ratio = diffuse + highlight / painted, in least squares.

    What is taken never makes a texel darker than the face as a whole.
    """
    ratio = jnp.exp(brightness[..., None] + hue)
    inverse = 1.0 / painted
    inverse = inverse / jnp.mean(inverse, -1, keepdims=True)
    # the columns (1, 1, 1) and `inverse`, whose channels sum to 3; a little is added so that grey paint gives no highlight
    spread = jnp.sum(jnp.square(inverse - 1.0), -1)
    highlight = jnp.sum((inverse - 1.0) * ratio, -1) / (spread + 0.007)
    mean = jnp.mean(ratio, -1)
    highlight = jnp.minimum(jnp.maximum(_smooth(highlight, width=5), 0.0), jnp.maximum(mean - 1.0, 0.0))
    ratio = jnp.maximum(ratio - (jnp.where(grey, 0.0, highlight) * skin)[..., None] * inverse, 0.02)
    mean = jnp.mean(ratio, -1)
    return jnp.log(mean), jnp.log(ratio / mean[..., None])


def _believed(
    brightness: Float[Array, "T T"], hue: Float[Array, "T T 3"], trust: Float[Array, "T T"], covered: Bool[Array, "T T"],
    masks: dict[str, Float[Array, "C C"]],
) -> tuple[Float[Array, "C C"], Float[Array, "T T"]]:
    """Where the photo is to be kept in full (coarse), and the trust in it without hair, glasses and shadows.

    A beard is rough or very dark where one can grow, on both halves of the face. A neighbourhood that departs as a whole
    elsewhere is something in front of the skin, or in its shadow.
    """
    values = jnp.concatenate([brightness[..., None], jnp.square(brightness)[..., None], jnp.square(hue)], -1)
    weight = _mean_of_blocks(trust[..., None])
    known = _blurred(jnp.concatenate([_mean_of_blocks(values * trust[..., None]), weight], -1), 1.4)
    sure = jnp.maximum(known[..., -1:], 1e-3)
    mean, square, tint = jnp.split(known[..., :-1] / sure, [1, 2], -1)
    rough = jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0.0))[..., 0]
    mean, tint, sure = mean[..., 0], jnp.mean(tint, -1), known[..., -1]

    def of_both(value: Float[Array, "C C"]) -> Float[Array, "C C"]:
        other = value[:, ::-1]
        return jnp.where(sure[:, ::-1] < 0.08, value, jnp.where(sure < 0.08, other, jnp.minimum(value, other)))

    whiskers = masks["beard"] * jnp.maximum(_step(of_both(-mean), 0.6, 0.9), _step(of_both(rough), 0.2, 0.34))
    kept = jnp.maximum(masks["features"], whiskers)
    bright = jnp.where(mean > 0, 0.4, 1.0)
    strange = (bright * jnp.square(mean) + 3.0 * tint * (1.0 - 0.7 * kept)) / jnp.square(STRANGE[0] + STRANGE[1] * kept)
    sound = jnp.clip((1.0 / jnp.square(1.0 + strange) - 0.15) / 0.3, 0.0, 1.0)
    # fade inwards from every border of what is seen
    area = _blurred(_mean_of_blocks(covered[..., None].astype(trust.dtype)), 1.2)[..., 0]
    inner = _blurred(weight * sound[..., None], 1.2)[..., 0] / jnp.maximum(area, 0.05)
    return kept, trust * _spread(sound) * jnp.clip(1.6 * _spread(inner) - 0.5, 0.0, 1.0)


def _broad(
    brightness: Float[Array, "T T"], hue: Float[Array, "T T 3"], trust: Float[Array, "T T"], plain: Float[Array, "C C"],
    masks: dict[str, Float[Array, "C C"]],
) -> tuple[Float[Array, "C C 4"], Float[Array, "C C 4"]]:
    """What departs broadly from the model on plain skin, and the part of it that is taken for skin: what both halves agree on."""
    weight = _mean_of_blocks(trust[..., None])
    values = _mean_of_blocks(jnp.concatenate([brightness[..., None], hue], -1) * trust[..., None]) / jnp.maximum(weight, 1e-4)
    weight = weight * plain[..., None] / jnp.square(1.0 + jnp.square(values[..., :1] / 0.25))
    near, far = (_blurred(jnp.concatenate([values * weight, weight], -1), width) for width in (BROAD, WIDER))
    sure, surer = (jnp.clip(4.0 * known[..., 4:], 0.0, 1.0) for known in (near, far))
    near, far = (known[..., :4] / jnp.maximum(known[..., 4:], 1e-4) for known in (near, far))
    broad = near * sure + far * surer * (1.0 - sure)
    # of the two halves, more of the one that is nearer to the model: highlights and cast shadows are seldom on both
    mirrored = masks["twin"][..., None]
    vote = sure / jnp.square(jnp.abs(broad[..., :1]) + 0.02)
    both = (broad * vote + broad[:, ::-1] * vote[:, ::-1] * mirrored) / (vote + vote[:, ::-1] * mirrored + 2.0)
    beard = masks["beard"][..., None]
    share = 0.4 + 0.5 * beard * sure * sure[:, ::-1] * mirrored
    agreed = jnp.clip(both[..., :1], -0.12 - 0.5 * beard, 0.12 - 0.07 * beard) * share
    return broad, jnp.concatenate([agreed, 0.8 * jnp.clip(both[..., 1:], -0.2, 0.2)], -1)


def _step(value: Float[Array, "C C"], low: float, high: float) -> Float[Array, "C C"]:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _smooth(values: Float[Array, "T T"], *, width: int) -> Float[Array, "T T"]:
    """Box mean over `width` texels a side."""
    rows = jax.lax.reduce_window(values, 0.0, jax.lax.add, (width, 1), (1, 1), "SAME")
    return jax.lax.reduce_window(rows, 0.0, jax.lax.add, (1, width), (1, 1), "SAME") / width**2


def _mean_of_blocks(values: Float[Array, "T T D"]) -> Float[Array, "C C D"]:
    """From texels to the coarse grid."""
    side = TEXTURE // COARSE
    return values.reshape(COARSE, side, COARSE, side, -1).mean((1, 3))


def _blurred(values: Float[Array, "C C D"], deviation: float) -> Float[Array, "C C D"]:
    """Gaussian blur on the coarse grid; nothing comes in over the border."""
    place = np.arange(COARSE)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / deviation) ** 2)
    matrix = jnp.asarray(kernel / kernel[COARSE // 2].sum(), jnp.float32)
    return jnp.einsum("ia,abd,jb->ijd", matrix, values, matrix)


def _spread(values: Float[Array, "C C *D"]) -> Float[Array, "T T *D"]:
    """From the coarse grid to texels, linear between centres."""
    place = np.clip((np.arange(TEXTURE) + 0.5) * COARSE / TEXTURE - 0.5, 0, COARSE - 1)
    matrix = jnp.asarray(np.maximum(1 - np.abs(place[:, None] - np.arange(COARSE)), 0), jnp.float32)
    return jnp.einsum("ia,ab...,jb->ij...", matrix, values, matrix)
