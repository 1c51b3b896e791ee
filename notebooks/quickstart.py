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
# # From a photo to a 3D face
#
# Fit, look, turn, relight, animate, export. Everything here runs on a laptop's CPU, with nothing downloaded.
# The photo is NASA's portrait of Eileen Collins, in the public domain.

# %%
from pathlib import Path

import numpy as np
from PIL import Image

import fitkit

HERE = Path(__file__).parent if "__file__" in globals() else Path()


def show(picture):
    """An sRGB array in [0, 1] as a picture; a notebook displays the last value of a cell."""
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


# %% [markdown]
# ## Fit
#
# The first call compiles for about half a minute; later ones take a second or two.

# %%
result = fitkit.fit(HERE / "data" / "astronaut.png")
print(result.status, result.reason, dict(result.timings))

# %% [markdown]
# Photo, overlay and textured head; below, the bare geometry from three sides.

# %%
sheet = show(result.pictures["comparison"])
sheet  # noqa: B018

# %% [markdown]
# ## What was found
#
# Coefficients are in standard deviations, expression weights are ARKit's in [0, 1], the camera is OpenCV's.

# %%
weights = dict(zip(result.model.expression_names, np.asarray(result.parameters.expression).tolist(), strict=True))
strongest = sorted(weights, key=lambda name: -weights[name])[:5]
print({name: round(weights[name], 2) for name in strongest})
print("focal length", float(result.camera.focal), "pixels,", result.focal_source)

# %% [markdown]
# ## Turn, relight, animate
#
# `light` is a direction: degrees to the viewer's right, degrees up.

# %%
turned = show(np.concatenate([result.render(yaw=yaw, size=256) for yaw in (-40, 0, 40)], axis=1))
turned  # noqa: B018

# %%
relit = show(np.concatenate([result.render(yaw=0, light=light, size=256) for light in ((-60, 10), (0, 60), (60, 10))], axis=1))
relit  # noqa: B018

# %%
faces = [{"jawOpen": 0.6}, {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}, {"eyeBlinkLeft": 1.0, "browInnerUp": 0.8}]
animated = show(np.concatenate([result.render(yaw=15, expression=face, size=256) for face in faces], axis=1))
animated  # noqa: B018

# %% [markdown]
# ## Export
#
# `mesh.glb` opens in Blender, Unreal and a browser, with 52 morph targets under ARKit's names; `fit.json` holds the rest.

# %%
folder = result.save(Path("out") / "astronaut", overwrite=True)
print(sorted(path.name for path in folder.iterdir()))

# %%
again = fitkit.load(folder)
assert np.array_equal(again.mesh().vertices, result.mesh().vertices)
