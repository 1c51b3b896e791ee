"""The photograph of a benchmark subject, as JPEG bytes: scene, light and renderer by kind, then a simple camera.

The camera: lens blur, sensor noise, white balance, a tone curve and JPEG. Amounts are chosen, not measured.
"""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Float
from PIL import Image

from fitkit.color import linear_to_srgb
from fitkit.evaluation.synthetic import environment_light, mitsuba_scene, rasterized_scene
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio, scene_parts
from fitkit.evaluation.synthetic.subjects import Person, View

# the camera, in the order of its effects
EXPOSURE_DEVIATION = 0.3                    # stops
EXPOSURE = {"metered": 0.0, "underexposed": -1.5, "overexposed": 1.0}      # stops; beyond it whole areas are lost
WHITE_BALANCE = 0.04                        # deviation of the logarithm of red
LENS_BLUR = (0.35, 0.9)                     # standard deviation, pixels
SHOT_NOISE, READ_NOISE = 2e-4, 1e-6         # variance per unit of radiance; variance
NOISE_SCALE = (0.3, 1.5)
KNEE = 0.7                                  # radiance from which highlights are compressed
JPEG_QUALITY = (72, 96)                     # least, and less than


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photograph:
    """The files of one picture."""

    jpeg: bytes
    mask: bytes | None                      # PNG, white where something is before the face; None where nothing can be


def photograph(paint: SkinPaint, person: Person, view: View, studio: Studio) -> Photograph:
    """One person in one view; light, backdrop and camera are drawn by seed.

    Kinds that differ in skin, renderer, occluder or exposure share all of these.

    Raises:
        FitkitError: E_DATA if Mitsuba or the skin maps are needed and not there.
    """
    generator = np.random.default_rng((person.seed, 4, round(abs(view.yaw))))
    light = environment_light.make_light(paint.kind.light, generator)
    parts = scene_parts(paint, person, view, studio, generator)
    if paint.kind.renderer == "mitsuba":
        seed = person.seed * 1000 + round(abs(view.yaw))
        rendered = mitsuba_scene.render_radiance(parts, light, view, studio, seed=seed)
    else:
        rendered = rasterized_scene.render_radiance(parts, light, view, studio)
    behind = environment_light.backdrop(generator, studio.width, studio.height)
    radiance = (rendered[..., :3] + (1 - rendered[..., 3:].clip(0, 1)) * behind) * 2.0 ** EXPOSURE[paint.kind.exposure]
    jpeg = encode_photo(radiance, generator)
    mask = None if paint.kind.occluder == "none" else _encode_mask(rasterized_scene.occluder_mask(parts, view, studio))
    return Photograph(jpeg=jpeg, mask=mask)


def encode_photo(radiance: Float[np.ndarray, "h w 3"], generator: np.random.Generator) -> bytes:
    """The camera: exposure, white balance, lens blur, noise, compressed highlights, sRGB, JPEG."""
    exposed = radiance * 2.0 ** generator.normal(0, EXPOSURE_DEVIATION) * environment_light.tint(generator, WHITE_BALANCE)
    blurred = scipy.ndimage.gaussian_filter(exposed, (*[generator.uniform(*LENS_BLUR)] * 2, 0))
    grain = generator.normal(0, 1, radiance.shape) * np.sqrt(np.clip(blurred, 0, None) * SHOT_NOISE + READ_NOISE)
    noisy = blurred + grain * generator.uniform(*NOISE_SCALE)
    rolled = np.where(noisy > KNEE, KNEE + (1 - KNEE) * np.tanh((noisy - KNEE) / (1 - KNEE) / 2), noisy)
    coded = np.asarray(linear_to_srgb(jnp.asarray(np.clip(rolled, 0, 1), jnp.float32)))
    file = io.BytesIO()
    Image.fromarray((coded * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=int(generator.integers(*JPEG_QUALITY)))
    return file.getvalue()


def _encode_mask(mask: Float[np.ndarray, "h w"]) -> bytes:
    file = io.BytesIO()
    Image.fromarray((mask * 255 + 0.5).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
