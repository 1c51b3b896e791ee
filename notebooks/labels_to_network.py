# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From labels to a network
#
# A fit takes a second. A network that has seen many faces *with their answers* takes milliseconds. Nobody has the answers of real
# photos, so the papers make the pictures: a head, a pose, a skin and a light are drawn at random, and rendered (Richardson et al.
# 2017, Section 3.2.2; Guo et al. 2018, Section VI). Here labels are made, looked at, and a tiny CoarseNet is trained on them for a
# minute. It will be a poor one: what it takes to be good is said at the end.

# %%
import dataclasses
from pathlib import Path

from flax import nnx
from PIL import Image

from fitkit.cli.main import run
from fitkit.labels.reading import open_labels, read_record
from fitkit.labels.sheet import contact_sheet
from fitkit.recipes.train.export import export
from fitkit.recipes.train.loop import train
from fitkit.recipes.train.tasks import find_task

# %% tags=["parameters"]
COUNT = 1000            # labelled pictures
SIDE = 128              # pixels a side of each
STEPS = 400             # of the training
BATCH = 32              # pictures of a step
LOOK = 100              # steps between two looks at pictures that are never trained on

# %% [markdown]
# ## Make labels
#
# The command, as you would type it: `fitkit labels make random --out labels --count 1000 --size 128`. `run` is what the command
# `fitkit` calls. A run is a folder of plain tar files; stopped, it goes on by the same command, and the same seed gives the same
# bytes. `--workers 8` makes it by eight processes.

# %%
assert run(["labels", "make", "random", "--out", "labels", "--count", str(COUNT), "--size", str(SIDE), "-q"]) == 0
print(sorted(path.name for path in Path("labels").iterdir()))

# %% [markdown]
# ## Look at them
#
# A record holds the picture and everything that made it: coefficients, pose, camera, light, points with visibility, and maps of
# depth, normals, PNCC and UV. Wrong labels train wrong networks: always look.

# %%
source = open_labels("labels")
records = [read_record(source, index) for index in range(min(4, len(source)))]
sheet = Image.fromarray(contact_sheet(records))
sheet  # noqa: B018

# %%
first = source[0]
for name, value in first.items():
    print(f"{name:12} {str(value.shape):16} {value.dtype}")

# %% [markdown]
# ## The network
#
# CoarseNet (Guo et al. 2018, Section VI): a ResNet-18 that looks at a square crop and tells shape, expression and pose. It is
# judged not by its numbers but by where they put the face's points in the picture (Eq. 15): a coefficient that moves nothing costs
# nothing. A `Task` is everything that the training loop knows of a network; `fitkit train --help` lists them. Its configuration
# `paper` is for a GPU, `small` for two CPU cores and half an hour; this one is smaller still.

# %%
task = find_task("coarsenet")
config = dataclasses.replace(task.configs["small"], batch=BATCH, steps=STEPS, side=64, width=8, warmup=min(20, STEPS))
print(task.summary, "|", task.paper)

# %% [markdown]
# ## Train
#
# The last part of the labels is held out, and scored at each look. `below_mean_head` is how far the shape is better than the mean
# head's, as a share: it is the figure that shape networks are told apart by, and the last to rise. Pose comes first.

# %%
seen = []
outcome = train(task, config, [Path("labels")], work=Path("training"), every=LOOK, on_progress=seen.append)
for each in seen:
    scores = each.scores and {name: round(each.scores[name], 2) for name in ("points", "yaw", "pitch", "below_mean_head")}
    print(f"step {each.step:4} of {each.steps}: loss {each.loss:9.1f}", scores or "")

# %% [markdown]
# ## Look at its answer
#
# Held-out pictures; below each, the true points in green and the network's in red.

# %%
data = task.load([Path("labels")], [], config)
answers = Image.fromarray(task.pictures(outcome.network, data, config)["held_out"])
answers  # noqa: B018

# %% [markdown]
# Beside it the answers of an untrained network, which tells the mean face in the mean pose to everybody: what a figure has to be
# compared with.

# %%
untrained = task.build(config, nnx.Rngs(0))
print("untrained:", {name: round(value, 2) for name, value in task.score(untrained, data, config).items()})
print("trained:  ", {name: round(value, 2) for name, value in task.score(outcome.network, data, config).items()})

# %% [markdown]
# ## Keep it
#
# Weights in half precision, and a card beside them that says what they have seen. `fitkit train` writes both at its end.

# %%
export(Path("tiny_coarsenet.safetensors"), task, config, outcome.network, step=outcome.step, notes=outcome.notes)
print(Path("tiny_coarsenet.md").read_text())

# %% [markdown]
# ## From here
#
# More people is what it wants: the CoarseNet that comes with fitkit (`fitkit predict me.jpg`) has seen 27,000, on a trunk that knew
# faces already, and its shape is a good third better than the mean head's. The commands are the same:
#
#     fitkit labels make random --out labels --count 20000 --workers 8
#     fitkit train coarsenet --data labels --config small          # --resume goes on where it was stopped
#     tensorboard --logdir training/coarsenet-small
