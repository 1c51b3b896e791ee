"""Training of a small identity network: `python -m fitkit.recipes.train.identity --help`.

    training.py      the student, its losses (ArcFace and distillation), the loop and the command line
    pictures.py      training images: renderings of random identities, photo crops, backgrounds
    augmentation.py  what a crop goes through before the network sees it
"""
