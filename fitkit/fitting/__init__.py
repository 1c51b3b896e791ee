"""Building blocks of a fit: the state of a face, what a photo shows of it, energies, and solvers. Recipes are written from them.

**State.** A `FaceState` holds one face (`FaceParameters`: identity, expression, albedo, light) and its `Pose`. A solver moves it by
a step in its tangent space, `retract_state(state, step)`, whose coordinates are in this order: identity, expression, pose (rotation
3, centre 2, log scale, log focal), albedo, light (row-major `[K, 3]`). `tangent_sizes` gives the lengths of these blocks,
`tangent_bounds` how far each coordinate may still move.

**Observation.** `observe` cuts a square crop around a face. An `Observation` holds it with the face's points, in the crop's pixels,
and what is known of the lens, a `FocalPrior`.

**Energy.** `losses` holds the terms as short unweighted functions; `photometric` the colour residuals of all visible pixels with
their Gauss-Newton matrix. Weights are a recipe's business.

**Solver.** A `Problem` is four functions of observation and state. `levenberg_marquardt` minimises it inside its bounds, in one
jitted loop; `map_over_faces` runs many faces in one program, and `shared_problem` makes one problem of several photos of a person.

A recipe is a function from a head and an observation to a `Solution`. This one fits pose, identity and expression to 68 points:

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from fitkit.fitting import *
    >>> from fitkit.geometry.pose import head_to_view, project_view
    >>> from fitkit.morphable.model import shape, values_at_points
    >>> def residuals(model, observation, state):       # squared and summed: the energy
    ...     vertices = shape(model, state.face.identity, state.face.expression)
    ...     points = values_at_points(model.landmarks, model.triangles, vertices)
    ...     error = project_view(state.pose, head_to_view(state.pose, points)) - observation.ibug
    ...     return jnp.concatenate([error.ravel(), state.face.identity, state.face.expression])
    >>> def linearize(model, observation, state):
    ...     moved = lambda step: residuals(model, observation, retract_state(state, step))
    ...     still = jnp.zeros(sum(tangent_sizes(state)))
    ...     value, jacobian = moved(still), jax.jacfwd(moved)(still)
    ...     return (), LinearSystem(value @ value, jacobian.T @ value, jacobian.T @ jacobian)       # (): no weights are held
    >>> @jax.jit
    ... def solve(model, observation):
    ...     index = jnp.array(STABLE_POINTS)
    ...     points = values_at_points(model.landmarks, model.triangles, model.mean)[index]
    ...     pose = pose_from_points(points, observation.ibug[index], jnp.exp(observation.focal.mean), observation.principal)
    ...     problem = Problem(
    ...         linearize=lambda seen, state: linearize(model, seen, state), retract=retract_state,
    ...         energy=lambda seen, _, state: jnp.sum(residuals(model, seen, state) ** 2),
    ...         bounds=lambda seen, state: tangent_bounds(state, model, seen.focal, appearance=False))
    ...     found = levenberg_marquardt(problem, observation, neutral_state(model, pose), iterations=20)
    ...     return Solution(state=found.state, losses={"total": found.energy})

on a photo `image` (a file or an array) with its `points` [68, 2]:

    >>> import fitkit
    >>> from fitkit.detection.landmarks import read_points
    >>> head, photo = fitkit.load_head("makehuman"), as_photo(image)
    >>> observation, to_photo = observe(head, photo, read_points(points), known_lens(photo, None, None), 224)
    >>> solution = solve(head, observation)
    >>> bool(solution.losses["total"] < 68 * 3**2)      # within three pixels
    True
"""

from fitkit.fitting import losses, photometric, solvers
from fitkit.fitting.initial_pose import STABLE_POINTS, pose_from_points
from fitkit.fitting.observation import Lens, known_lens, observe, working_crop
from fitkit.fitting.photometric import FrozenPixels, SkinTables
from fitkit.fitting.solvers import (
    Descent,
    LinearSystem,
    Problem,
    levenberg_marquardt,
    map_over_faces,
    robust_weight,
    shared_problem,
)
from fitkit.fitting.state import (
    FaceState,
    FitStep,
    FocalPrior,
    Observation,
    Solution,
    Watch,
    neutral_state,
    rasterize_state,
    retract_state,
    shared_coordinates,
    tangent_bounds,
    tangent_sizes,
)
from fitkit.io.given_photo import as_photo

__all__ = [
    "STABLE_POINTS", "Descent", "FaceState", "FitStep", "FocalPrior", "FrozenPixels", "Lens", "LinearSystem", "Observation",
    "Problem", "SkinTables", "Solution", "Watch", "as_photo", "known_lens", "levenberg_marquardt", "losses", "map_over_faces",
    "neutral_state", "observe", "photometric", "pose_from_points", "rasterize_state", "retract_state", "robust_weight",
    "shared_coordinates", "shared_problem", "solvers", "tangent_bounds", "tangent_sizes", "working_crop",
]
