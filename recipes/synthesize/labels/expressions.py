"""Labels of kind `expressions` (Chen et al. 2019, Section 3.2): random heads as of kind `random`, whose faces show emotions.

Emotion-Net learns from them, and the dictionary of rendered expressions is made of them.
"""

from fitkit.labels.shards import Make
from fitkit.recipes.synthesize.emotions import draw_emotional
from fitkit.recipes.synthesize.labels.random import RandomConfig, RandomLabels


def maker(config: RandomConfig) -> Make:
    """The function that makes records of a run by their numbers; heads whose expressions are not ARKit's are at rest."""
    return RandomLabels(config, kind="expressions", expression=draw_emotional).records
