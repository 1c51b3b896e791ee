"""Reads and writes files: images, scans, weights, archives. Writes elsewhere go through `atomic_files`.

    untrusted      opens every file that a user names: bounded, never waiting, no device, pipe or sparse file; and guards parsers
    images, image_decoder     photos in, pictures out
    scans          meshes and their landmarks
    tensor_files   safetensors
    tar_members    members of tar archives
    atomic_files   writes files and folders whole or not at all
"""
