"""Everything learned: networks and tables, with their readers. No optimiser, no loss weights.

    heads/        morphable heads, by name
    mediapipe/    face detector and face meshes
    identity/     identity networks
    texture_gan/  the generator of albedo maps
    photo_statistics.py   how cameras and lights of photos are distributed
    parameters.py         weight files -> parameters of a Flax module
    weights/      safetensors, each with a card that says what it is, who made it and under which licence
    build/        makes those files; for maintainers

Core code takes networks as callables; recipes and the pipeline load them from here.
"""
