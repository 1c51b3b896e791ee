"""The iterative network as a `FaceReader`: pictures of faces -> coefficients and poses, averaged with the mirror image's."""

from functools import cache

from jaxtyping import Array, Float

from fitkit.models import heads
from fitkit.models.richardson.coarse import first_numbers, iterate, load_coarse
from fitkit.models.richardson.feedback import feedback_head
from fitkit.recipes.coarsenet.prediction import HEAD, FaceReader, mirror_averaged
from fitkit.recipes.richardson.recipe import RichardsonConfig


def load_reader(config: RichardsonConfig) -> FaceReader:
    """Iterative CoarseNet, as it comes with fitkit, averaged over each picture and its mirror image; read once.

    Raises:
        FitkitError: E_DATA, its weights are missing or damaged.
    """
    return _load(config.iterations)


@cache
def _load(iterations: int) -> FaceReader:
    parameters, config = load_coarse()
    model = heads.load(HEAD)
    head = feedback_head(model)

    def look(pictures: Float[Array, "B s s 3"]) -> Float[Array, "B o"]:
        return iterate(parameters, head, pictures, first_numbers(parameters, pictures, config), config=config,
                       iterations=iterations)[-1]

    return mirror_averaged(look, config.numbers, model)
