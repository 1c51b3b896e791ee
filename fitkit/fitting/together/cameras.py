"""Known cameras of photos fitted together: whether they stand apart and see one face; where in their world the head was found.

In: `GivenCamera`s and the 68 points of each photo. Out: a stacked `KnownView`; a `CameraWorld` for the result.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.geometry.pose import Pose
from fitkit.geometry.rig import KnownView, WorldHead, head_of_pose, meeting_head
from fitkit.io.cameras.given import GivenCamera

COMPARED = slice(27, 60)     # of the 68 points: nose, eyes, outer lips, which have one place on a face from wherever it is seen
MAX_MISS = 0.12              # mean distance of points from where the others see them, over the longer side of the face; chosen: a
#                              detector is off by 0.02, cameras of another convention by the size of the face
APART = 1e-4                 # of the distance to the face: cameras that stand nearer to each other are at one place; chosen


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CameraWorld:
    """A photo's camera, and the head before it, in the world of the known cameras."""

    rotation: Float[np.ndarray, "3 3"]              # world -> camera, OpenCV axes
    translation: Float[np.ndarray, " 3"]            # the world's unit
    unit: float | None = None                       # mm in the world's unit; None where nothing says it
    head: Float[np.ndarray, "4 4"] | None = None    # head frame, mm -> world; None without the unit
    together: bool = False                          # the unit was known, and several photos agree on the head's size


def known_views(cameras: Sequence[GivenCamera | None], points: Sequence[Float[np.ndarray, "68 2"]], names: Sequence[str]
                ) -> KnownView | None:
    """The places of the cameras of photos of one instant, stacked; None where they are not known.

    Args:
        cameras: of each photo.
        points: detected in each photo, pixels.
        names: of the photos.

    Raises:
        FitkitError: E_USAGE: some cameras have a place and some none, they stand at one place, or they do not see one face.
    """
    placed = [camera for camera in cameras if camera is not None and camera.rotation is not None]
    if not placed or len(cameras) == 1:
        return None
    if len(placed) < len(cameras):
        without = next(name for name, camera in zip(names, cameras, strict=True) if camera is None or camera.rotation is None)
        raise FitkitError("E_USAGE", f"{without} has a camera without R and t, and other photos have them; give them of all, or of"
                                     " none")
    units = {camera.unit for camera in placed}
    if len(units) > 1:
        raise FitkitError("E_USAGE", "the cameras of photos of one instant have different units; give all the same")
    rotations, translations = (np.array([getattr(camera, name) for camera in placed], np.float64)
                               for name in ("rotation", "translation"))
    _check_agreement(rotations, translations, np.array([camera.intrinsics for camera in placed]), np.stack(points), names)
    return KnownView(rotation=jnp.asarray(rotations, jnp.float32), translation=jnp.asarray(translations, jnp.float32),
                     unit=jnp.full(len(placed), units.pop() or 0.0, jnp.float32))


def _check_agreement(rotations: np.ndarray, translations: np.ndarray, intrinsics: np.ndarray, points: np.ndarray,
                     names: Sequence[str]) -> None:
    """Refuse cameras from which the points of the photos are not those of one face: each is seen where its rays meet."""
    seen = points[:, COMPARED].astype(np.float64)
    eyes = -np.einsum("nji,nj->ni", rotations, translations)
    homogeneous = np.concatenate([seen, np.ones((*seen.shape[:2], 1))], axis=2)
    rays = np.einsum("nji,njk,npk->npi", rotations, np.linalg.inv(intrinsics), homogeneous)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    matrix, target = across.sum(0), np.einsum("npij,nj->pi", across, eyes)
    far = np.abs(eyes - eyes.mean(0)).max()
    if far == 0 or np.linalg.svd(matrix, compute_uv=False)[:, -1].min() < APART**2:
        raise FitkitError("E_USAGE", f"the cameras of {names[0]} and the other photos stand at one place, so they say nothing of"
                                     " how far"
                          " the face is; leave R and t out, and of one lens give --same-lens")
    places = np.linalg.solve(matrix, target[..., None])[..., 0]
    in_camera = np.einsum("nij,pj->npi", rotations, places) + translations[:, None]
    if (in_camera[..., 2] <= 0).mean() > 0.5:
        raise FitkitError("E_USAGE", f"the face of {names[0]} and the other photos lies behind their cameras; give R and t from"
                                     " world to"
                          " camera, with OpenCV axes (x right, y down, z forward)")
    pixels = np.einsum("nij,npj->npi", intrinsics, in_camera / np.maximum(in_camera[..., 2:], 1e-9))[..., :2]
    sides = np.ptp(points, axis=1).max(-1)
    miss = np.linalg.norm(pixels - seen, axis=-1).mean(1) / sides
    if miss.max() > MAX_MISS:
        worst = int(miss.argmax())
        raise FitkitError("E_USAGE", f"the cameras do not fit the photos: the points of {names[worst]} lie {100 * miss[worst]:.0f}"
                                     " % of"
                          " the face's size from where the other photos see them; are K, R and t those of these photos, R and t"
                          " from"
                          " world to camera, and do the photos show one instant?")


def world_of(camera: GivenCamera | None, head: WorldHead | None, pose: Pose) -> CameraWorld | None:
    """A photo's camera and head in the world; None where its place is not known.

    Args:
        camera: of the photo.
        head: that several photos agree on; None of a photo fitted alone.
        pose: in the photo.
    """
    if camera is None or camera.rotation is None:
        return None
    rotation, translation, several = np.array(camera.rotation), np.array(camera.translation), head is not None
    if head is None and camera.unit is not None:
        view = KnownView(rotation=jnp.asarray(rotation, jnp.float32), translation=jnp.asarray(translation, jnp.float32),
                         unit=jnp.float32(camera.unit))
        head = head_of_pose(view, pose, -jnp.log(jnp.float32(camera.unit)))
    if head is None:
        return CameraWorld(rotation=rotation, translation=translation)
    matrix, scale = np.eye(4), float(np.exp(head.log_unit))
    matrix[:3, :3], matrix[:3, 3] = scale * np.asarray(head.rotation, np.float64), np.asarray(head.place, np.float64)
    return CameraWorld(rotation=rotation, translation=translation, unit=1.0 / scale, head=matrix,
                       together=several and camera.unit is not None)


def head_of_solutions(views: KnownView, poses: Pose) -> WorldHead:
    """The head in the world of photos that were fitted together (stacked)."""
    return jax.jit(meeting_head)(views, poses)


def world_content(world: CameraWorld) -> dict[str, Any]:
    """What fit.json says of it."""
    return {
        "about": "the camera as it was given: x_camera = R @ X + t, in the unit of t; unit: millimetres in it, null where nothing"
                 " says"
        " it; head_to_world [4, 4] takes mesh.obj as fitted (millimetres) to X",
        "R": world.rotation.tolist(), "t": world.translation.tolist(), "unit": world.unit, "together": world.together,
        "head_to_world": None if world.head is None else world.head.tolist(),
    }


def read_world_content(content: Mapping[str, Any]) -> CameraWorld:
    """The world that fit.json holds.

    Raises:
        ValueError: it holds none that could be.
    """
    head, unit = content["head_to_world"], content["unit"]
    matrices = [np.array(value, np.float64) for value in (content["R"], content["t"], np.eye(4) if head is None else head)]
    shapes = [matrix.shape for matrix in matrices]
    if shapes != [(3, 3), (3,), (4, 4)] or not all(np.isfinite(matrix).all() for matrix in matrices):
        raise ValueError("the world of a camera")
    if unit is not None and (not isinstance(unit, float | int) or not 0 < unit < np.inf):
        raise ValueError("the unit of a camera's world")
    return CameraWorld(rotation=matrices[0], translation=matrices[1], unit=unit, head=None if head is None else matrices[2],
                       together=content["together"] is True)
