"""Training of the texture generator, a StyleGAN2-like GAN: `python -m fitkit.recipes.train.texture_generator --help`.

    training.py          stages, data, checkpoints and the command line
    adversarial_step.py  the training state and its four jitted updates
    losses.py            their unweighted terms
    augmentation.py      adaptive discriminator augmentation
    scores.py            scores of a trained generator, a command of its own
"""
