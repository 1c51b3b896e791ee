"""The result of a fit: made from a recipe's solution, asked for pictures and meshes, saved to a folder and loaded again.

In: head, photo, lens and `Solution`, from `fitkit.pipeline`. Out: a `FitResult`, and its folder on disk.

    from_solution.py   crop coordinates -> photo pixels: builds the `FitResult`
    fit_quality.py     "converged", or "doubtful" and why
    result.py          `FitResult`, and the list of the files in its folder
    person_texture.py  one texture of a person's photos, and textures of more than 1024 texels
    pictures.py        overlay, comparison, normals, depth and albedo map, rendered in the tiles of photo_window.py
    shown/             what `repr`, a notebook and the viewer show
    save.py load.py    the folder, bit for bit; fit_json.py writes and reads its text part
"""

# What `FitResult.save` and --outputs name; `all` is the first three. This module imports nothing.
OUTPUTS = ("params", "mesh", "pictures", "viewer", "rig", "vrm", "usd", "print", "occlusion", "all")
ALL = OUTPUTS[:3]
