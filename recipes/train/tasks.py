"""The networks that `fitkit train NAME` can train, by name. A task is made by its network's own package."""

from fitkit.configuration import check_choice
from fitkit.recipes.train.coarsenet.task import COARSENET
from fitkit.recipes.train.df2net.dense import DNET
from fitkit.recipes.train.df2net.refinement import FNET, FRNET
from fitkit.recipes.train.dfdn.task import DFDN
from fitkit.recipes.train.emotion_net.task import EMOTION_NET
from fitkit.recipes.train.finenet.task import FINENET
from fitkit.recipes.train.richardson_coarse.task import RICHARDSON_COARSE
from fitkit.recipes.train.richardson_fine.end_to_end import RICHARDSON
from fitkit.recipes.train.richardson_fine.task import RICHARDSON_FINE
from fitkit.recipes.train.task import Task
from fitkit.recipes.train.tracking_coarsenet.task import TRACKING_COARSENET

TASKS: dict[str, Task] = {task.name: task for task in (
    COARSENET, FINENET, RICHARDSON_COARSE, RICHARDSON_FINE, RICHARDSON, TRACKING_COARSENET, DNET, FNET, FRNET, EMOTION_NET, DFDN)}


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
        FitkitError: E_USAGE, there is none; the nearest is named.
    """
    return TASKS[check_choice(name, TASKS, code="E_USAGE", what="network to train")]
