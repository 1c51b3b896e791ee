"""Texture coordinates and albedo model of the embedded head.

`unwrap` lays the parts out in the unit square, with `flatten` for the skin. `albedo` makes mean and axes of reflectance from
`pigment` (optics of skin) and skin.toml, which `skin_statistics` wrote from the MakeHuman community's skins.
"""
