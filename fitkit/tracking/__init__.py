"""Films: a face followed from frame to frame, and what is written of it.

    film, pictures or camera -> `source` -> frames -> `following` (the face's points) -> `run` -> `Track` -> `files` -> folder

The fit of a frame is `recipes/tracking`'s.
"""
