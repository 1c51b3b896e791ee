"""The iterative network as a `FaceReader`: pictures of faces -> coefficients and poses, averaged with the mirror image's."""

from functools import cache

from fitkit.models import heads
from fitkit.models.richardson.coarse import iterate, load_coarse
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
    return mirror_averaged(lambda pictures: iterate(parameters, head, pictures, config=config, iterations=iterations)[-1],
                           config.numbers, model)
