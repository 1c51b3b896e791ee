"""The GAN of albedo maps (GANFIT, Section 3.1): StyleGAN2-like, in the UV layout of the embedded head.

    generator.py      latent -> albedo map; `load_generator`, `mapping` and `synthesize` are what recipes use
    discriminator.py  map -> logit, for training alone

Weights: `weights/texture_generator.safetensors`; `python -m fitkit.recipes.train.texture_generator` trains others.
"""
