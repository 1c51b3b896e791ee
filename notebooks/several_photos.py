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
# # Several photos of one person
#
# One photo tells half of a face. From the side nobody sees how wide it is, from the front nobody sees how long the nose is.
# `fitkit.fit` with a list of photos fits **one** identity and **one** skin to all of them; expression, pose, light and lens stay
# each photo's own (GANFIT calls it multi-image fitting, Eq. 13). Here it is tried on pictures whose answer is known.

# %%
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

import fitkit
from fitkit import morphable
from fitkit.evaluation.metrics.alignment import align_points

DATA = (Path(__file__).parent if "__file__" in globals() else Path()) / "data"


def show(*pictures):
    """sRGB arrays in [0, 1] of one height, side by side; a notebook displays the last value of a cell."""
    return Image.fromarray((np.clip(np.concatenate(pictures, axis=1), 0, 1) * 255 + 0.5).astype(np.uint8))


# %% tags=["parameters"]
VIEWS = (                # of the pictures: degrees of yaw and pitch, light (degrees to the right, up), expression
    (-35, 0, (-50, 20), {}),
    (0, 5, (0, 40), {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}),
    (40, -5, (30, 10), {"jawOpen": 0.3}),
)
SIZE = 224               # pixels a side of the crop that a fit works on

# %% [markdown]
# ## The photos
#
# A head is fitted to the portrait of Eileen Collins, and then drawn as three photographers would have taken it: from three sides,
# in three lights, with three faces. Its shape is the truth. Arrays, files, bytes and Pillow images are all photos to `fit`.

# %%
person = fitkit.fit(DATA / "astronaut.png", stages=1, size=SIZE)
photos = [person.render(yaw=yaw, pitch=pitch, light=light, expression=expression, background=(0.5, 0.55, 0.6), as_bytes=True)
          for yaw, pitch, light, expression in VIEWS]
taken = show(*(photo / 255 for photo in photos))
taken  # noqa: B018

# %% [markdown]
# ## Each alone
#
# `fit_batch` takes photos of different people: each gets a shape of its own, and here the same person gets three.

# %%
alone = fitkit.fit_batch(photos, stages=1, size=SIZE)
fits = show(*(result.pictures["overlay"] for result in alone))
fits  # noqa: B018

# %% [markdown]
# ## All together
#
# The list has one result for each photo, all with the same identity and albedo. Each number of photos compiles once.

# %%
together = fitkit.fit(photos, stages=1, size=SIZE)
assert all(np.array_equal(result.parameters.identity, together[0].parameters.identity) for result in together)
for result in together:
    smile = result.parameters.expression[result.model.expression_names.index("mouthSmileLeft")]
    print(f"{result.status}, smile {float(smile):.2f}, focal length {float(result.camera.focal):.0f} pixels")

# %%
joint = show(*(result.pictures["overlay"] for result in together))
joint  # noqa: B018

# %% [markdown]
# ## One skin
#
# The texture is made of all photos: each texel from those that see it best, the light of each taken off, the seams joined. Turned
# by 40 degrees to either side: the first photo alone, all together; what one photo does not show has to be invented.

# %%
turned = show(*(result.render(yaw=yaw, size=256) for yaw in (-40, 40) for result in (alone[0], together[0])))
turned  # noqa: B018

# %% [markdown]
# ## How near to the truth?
#
# Faces at rest, laid onto the true one by a similarity (a photo without EXIF does not tell size), millimetres between vertices.
# The mean head is the figure to beat.

# %%
head = person.model
inside = np.asarray(morphable.face_region(head)) > 0.5


def distance(identity):
    """Mean distance of the face's vertices from the true ones, mm."""
    rest = jnp.zeros(len(head.expression_names))
    found, true = (np.asarray(morphable.shape(head, each, rest))[inside] for each in (identity, person.parameters.identity))
    return float(np.linalg.norm(align_points(found, true, scale=True).apply(found) - true, axis=1).mean())


errors = {"mean head": distance(head.identity_mean)}
errors |= {f"photo {number} alone": distance(result.parameters.identity) for number, result in enumerate(alone, 1)}
errors["all together"] = distance(together[0].parameters.identity)
for name, error in errors.items():
    print(f"{name:16} {error:.2f} mm")

# %% [markdown]
# Two things to know. The person is of the same head that fits it: real faces are further away, and `fitkit eval synthetic` measures
# that with people of another head. And the photos need not be of one day, but of one face: a beard that comes and goes becomes the
# mean of both.

# %% [markdown]
# ## A photo without a face
#
# It does not stop the others: an error is an entry of the list, in one sentence.

# %%
entries = fitkit.fit_batch([photos[1], np.full((200, 200, 3), 128, np.uint8)], stages=1, size=SIZE)
print([type(entry).__name__ for entry in entries])
print(entries[1])

# %% [markdown]
# ## From the command line
#
#     fitkit fit a.jpg b.jpg c.jpg --same-person
#     fitkit fit people.csv                          # a column `person` says who belongs together
#     fitkit fit l.jpg m.jpg r.jpg --same-person --camera transforms.json      # one instant, by calibrated cameras
