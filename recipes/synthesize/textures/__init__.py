"""Synthetic albedo maps in the embedded head's UV layout, for training a texture prior.

    paint.py   `textures(folder, size=, count=)`: maps recombined and recoloured from MakeHuman's skins; `read_maps` reads others
    canvas.py  the layout, its regions and landmarks, and drawing on it
    hair.py    brows, beard, scalp and lashes
    marks.py   freckles, moles and pores; the tint of wrinkles comes from `relief/grooves.py`

Everything is NumPy on the CPU, and seeded.
"""
