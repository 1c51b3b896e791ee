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
# # GANFIT, step by step
#
# Gecer et al. 2019, *GANFIT: Generative Adversarial Network Fitting for High Fidelity 3D Face Reconstruction*. One photo, one head,
# and the energy of Eq. 12, which Adam makes small:
#
# $$E(p) = \lambda_{id} L_{id} + \lambda_{id2} \hat{L}_{id} + \lambda_{con} L_{con} + \lambda_{pix} L_{pix}
#        + \lambda_{lan} L_{lan} + \lambda_{reg} Reg(p)$$
#
# Pixels and landmarks make the rendering *agree* with the photo. What makes it *look like the person* are the three terms before
# them: a face recognition network is shown the photo and the rendering, and is asked whether they are the same person. The skin
# comes from a generator that can paint skin and nothing else. Each of these is looked at here on its own, and then the whole.

# %%
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import fitkit
from fitkit.color import linear_to_srgb
from fitkit.evaluation.identity_similarity import similarity
from fitkit.models.identity.network import load_identity
from fitkit.models.texture_gan.generator import load_generator, mapping, synthesize
from fitkit.recipes.ganfit import GanfitConfig

PHOTO = (Path(__file__).parent if "__file__" in globals() else Path()) / "data" / "astronaut.png"


def show(*pictures):
    """sRGB arrays in [0, 1] of one height, side by side; a notebook displays the last value of a cell."""
    return Image.fromarray((np.clip(np.concatenate(pictures, axis=1), 0, 1) * 255 + 0.5).astype(np.uint8))


# %% tags=["parameters"]
ITERATIONS = 150        # of Adam
EVERY = 5               # of the steps that are told (each tenth) which are shown
SIZE = 224              # pixels a side of the crop that the fit works on

# %% [markdown]
# ## Where it begins
#
# The paper begins from landmarks. fitkit begins from more: stage 1 of recipe `inverse_rendering`, which fits shape, expression,
# skin, pose and light to the photo's colours by Levenberg-Marquardt. It agrees with the photo. Its skin is the head's linear
# model: a few dozen numbers, and nobody in particular.

# %%
start = fitkit.fit(PHOTO, stages=1, size=SIZE)
beginning = show(start.pictures["comparison"])
beginning  # noqa: B018

# %% [markdown]
# ## The generator
#
# It makes an albedo map, the head's skin without any light, from one style vector a layer (a StyleGAN2-like network, Eq. 5).
# Styles of random latents are people whom nobody has seen. The fit moves the styles of all layers on their own (W+).

# %%
weights, layout = load_generator()


def painted(seed):
    """The albedo map of a random person, sRGB."""
    style = mapping(weights, jax.random.normal(jax.random.key(seed), (layout.latent,)), config=layout)
    return linear_to_srgb(synthesize(weights, jnp.tile(style, (layout.layers, 1)), config=layout))


strangers = show(*(np.asarray(painted(seed)) for seed in range(4)))
print(f"{layout.size} x {layout.size} texels, {layout.layers} styles of {layout.latent} numbers")
strangers  # noqa: B018

# %% [markdown]
# ## The network that knows people
#
# It maps an aligned crop of a face to a unit vector; two photos of one person have a large cosine. L_id (Eq. 8) is one minus the
# cosine of photo and rendering; L_con (Eq. 9) compares the feature maps on the way; the second rendering (Eq. 7) is of the same
# head in another pose, light and expression, so that the likeness is the head's and not the view's. How alike is the beginning?

# %%
network = load_identity()
print(f"cosine of the photo and stage 1: {similarity(network, start):.3f}")

# %% [markdown]
# ## The fit
#
# `watch` is called with a `fitkit.fitting.FitStep` at the start and after each tenth step: the loss, the state of the face, and
# the texture. (`fitkit fit me.jpg --recipe ganfit --watch` shows the same in a browser while it happens.)

# %%
steps = []
result = fitkit.fit(PHOTO, recipe="ganfit", iterations=ITERATIONS, size=SIZE, watch=steps.append)
begun = steps[0].state.face.identity
for each in steps[::EVERY]:
    moved = float(jnp.sqrt(jnp.mean((each.state.face.identity - begun) ** 2)))
    print(f"step {each.step:3} of {each.most}: loss {each.loss:.3f}, shape moved by {moved:.3f} standard deviations")

# %% [markdown]
# The texture on its way: it begins at the mean style, and becomes this person's. Row 0 of a map is the top of the head.

# %%
textures = show(*(np.asarray(linear_to_srgb(each.texture)) for each in steps[::EVERY]))
textures  # noqa: B018

# %% [markdown]
# ## What the terms weigh
#
# fitkit's defaults differ from the paper's, whose head, generator and network are not ours; `--config paper:ganfit` takes theirs.

# %%
terms = {name: round(value, 4) for name, value in result.losses.items()}
fields = GanfitConfig()
print("unweighted, at the end:", terms)
print("weights:", {name: getattr(fields, f"weight_{name}") for name in ("identity", "second", "content", "pixel", "landmark")})

# %% [markdown]
# ## Without the network
#
# The same fit with the three identity terms switched off. Nothing is compiled again: weights are arguments of the program.

# %%
blind = fitkit.fit(PHOTO, recipe="ganfit", iterations=ITERATIONS, size=SIZE, weight_identity=0.0, weight_second=0.0,
                   weight_content=0.0)
for name, fitted in (("stage 1", start), ("ganfit without the network", blind), ("ganfit", result)):
    print(f"{name}: cosine of photo and rendering {similarity(network, fitted):.3f}")

# %% [markdown]
# Do not read too much into these: all three heads wear the photo's own skin in the photo's own pose, which is alike whatever the
# shape (stage 1 is even highest), and the judge is the network that the fit was made to please.
# Turned heads say more, and another network
# (`fitkit assets import identity`) is a fairer judge, and your eyes are the last: stage 1, without the network, and GANFIT, in the
# photo's pose and turned by 40 degrees.

# %%
compared = show(*(fitted.render(size=256) for fitted in (start, blind, result)))
compared  # noqa: B018

# %%
turned = show(*(fitted.render(yaw=40, size=256) for fitted in (start, blind, result)))
turned  # noqa: B018

# %% [markdown]
# ## What is left of the generator
#
# At the end the generated texture is limited to what the photo shows and what skin can be, and the photo's own detail is laid over
# it: `result.skin` is the generated one, `result.texture` what the head wears.

# %%
worn = show(*(np.asarray(Image.fromarray(each).resize((512, 512))) / 255 for each in (result.skin, result.texture)))
worn  # noqa: B018

# %%
folder = result.save(Path("out") / "astronaut-ganfit", overwrite=True)
print(sorted(path.name for path in folder.iterdir()))
