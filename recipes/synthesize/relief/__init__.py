"""Sources of relief: displacement maps of skin in the embedded head's UV, mm outwards, and their way to another face. Seeded.

    surface.py        the skin's texels on the head, and where relief may be
    grooves.py        drawn wrinkles: lines by age, their tint and their depth
    skins.py          "dark is deep": relief of MakeHuman's skins
    compression.py    wrinkles where an expression compresses the skin
    photos.py         what stage 2 of `inverse_rendering` found on a photo
    sources.py        one relief of any of them
    transfer.py       relief of one face carried to the picture of another (Guo et al. 2018, Section VIII-A)
"""
