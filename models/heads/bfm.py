"""Basel Face Models, read from your copies: bfm:PATH, of 2009 (`01_MorphableModel.mat`), 2017, 2019 (`.h5`, also `face12`).

+Y up, face to +Z, which is our frame; 2009 in micrometres and clockwise, the others in millimetres. Colours are sRGB per vertex;
they become linear here, their modes to first order. The model of 2009 has no expressions: those of FaceWarehouse, as Guo et al.
2018 distribute them, are taken along where `Exp_Pca.bin`, `std_exp.txt` and `BFM_exp_idx.mat` lie beside it. Feeds `importing`.
"""

import pathlib
from typing import Any

import numpy as np

from fitkit.io.array_files.archives import read_mat
from fitkit.io.array_files.hdf5 import read_hdf5
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.heads.source import MICROMETRE, HeadSource, as_modes, checked, expression_tables, linear_colours

LARGEST = 2**30             # bytes, packed or unpacked; the largest has 400 MB
REMEDY = "give 01_MorphableModel.mat of 2009, or a model .h5 of 2017 or 2019"
OLD = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
KINDS = ("shape", "expression", "color")
STATISTICS = ("mean", "pcaBasis", "pcaVariance")
NEW = (*(f"{kind}/model/{name}" for kind in KINDS for name in STATISTICS), "shape/representer/cells", "shape/representer/points")
BESIDE = ("Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat")      # expressions, beside the model of 2009


def read(path: str | pathlib.Path) -> HeadSource:
    """A Basel Face Model from its file.

    Raises:
        FitkitError: E_DATA where the file is missing, of another layout, or damaged; and where `.h5` needs the extra `heads`.
    """
    path = pathlib.Path(path)
    what = f"{path} cannot be read as a Basel Face Model"
    if path.suffix.lower() in (".h5", ".hdf5"):
        arrays = read_hdf5(path, most=LARGEST, names=NEW, code="E_DATA", mend=REMEDY)
        with parsing("E_DATA", what, mend=REMEDY):
            return _parse_new(arrays)
    data = read_bytes(path, most=LARGEST, code="E_DATA", mend=REMEDY)
    with parsing("E_DATA", what, mend=REMEDY):
        arrays = _complete(read_mat(data, most=LARGEST, names=OLD), OLD)
    with parsing("E_DATA", f"the expressions beside {path} cannot be read", mend="take them away or give them whole"):
        modes = _warehouse(path.parent, arrays["shapeMU"].size // 3)
    with parsing("E_DATA", what, mend=REMEDY):
        return _parse_old(arrays, modes)


def _complete(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"it holds no {missing[0]}")
    return arrays


def _parse_old(arrays: dict[str, np.ndarray], expression: np.ndarray) -> HeadSource:
    mean = arrays["shapeMU"].reshape(-1, 3).astype(np.float64) * MICROMETRE
    scale = arrays["shapeEV"].ravel() * MICROMETRE      # "EV" are standard deviations
    if scale.size != arrays["shapePC"].shape[1] or arrays["texEV"].size != arrays["texPC"].shape[1]:
        raise ValueError("its modes and their deviations do not fit")
    identity = as_modes(arrays["shapePC"] * scale.astype(np.float32), len(mean))
    colours = as_modes(arrays["texPC"] * (arrays["texEV"].ravel() / 255.0).astype(np.float32), len(mean))
    albedo_mean, albedo = linear_colours(arrays["texMU"].reshape(-1, 3) / 255.0, colours)
    triangles = arrays["tl"].astype(np.int32)[:, ::-1] - 1      # clockwise, from 1
    fields: dict[str, Any] = {
        "mean": mean.astype(np.float32), "identity": identity, "albedo_mean": albedo_mean, "albedo": albedo,
        "triangles": np.ascontiguousarray(triangles), "expression": expression,
        **expression_tables(len(expression), prefix="expression")}
    return checked(HeadSource(family="bfm", **fields))


def _warehouse(folder: pathlib.Path, vertices: int) -> np.ndarray:
    """FaceWarehouse's expression modes on the vertices of 2009, [E, V, 3] mm per standard deviation; none without the files."""
    places = [folder / name for name in BESIDE]
    if not all(place.exists() for place in places):
        return np.zeros((0, vertices, 3), np.float32)
    mend = "take it away or give it whole"
    packed, deviations, index = (read_bytes(place, most=LARGEST, code="E_DATA", mend=mend) for place in places)
    kept = read_mat(index, most=2**26, names=("trimIndex",))["trimIndex"].ravel().astype(np.int64) - 1
    modes = int(np.frombuffer(packed[:4], "<i4")[0])
    numbers = np.frombuffer(packed[4:], "<f4")
    scale = np.array([float(word) for word in deviations.decode("ascii").split()], np.float32)
    fits = 0 < modes <= len(scale) and numbers.size == 3 * len(kept) * (modes + 1) and 0 <= kept.min() <= kept.max() < vertices
    if not fits:
        raise ValueError(f"{modes} modes of {len(kept)} vertices, {numbers.size} numbers and {len(scale)} deviations do not fit")
    found = np.zeros((modes, vertices, 3), np.float32)
    metric = (scale[:modes] * np.float32(MICROMETRE))[:, None, None]
    found[:, kept] = numbers[3 * len(kept):].reshape(modes, len(kept), 3) * metric
    return found


def _parse_new(arrays: dict[str, np.ndarray]) -> HeadSource:
    _complete(arrays, tuple(name for name in NEW if not name.endswith("points")))
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind in KINDS:
        mean, basis, variance = (np.asarray(arrays[f"{kind}/model/{name}"], np.float32) for name in STATISTICS)
        if basis.ndim != 2 or basis.shape[1] != variance.size or (variance < 0).any():
            raise ValueError(f"the modes of its {kind} and their variances do not fit")
        parts[kind] = mean.reshape(-1, 3), as_modes(basis * np.sqrt(variance.ravel()), mean.size // 3)
    cells = arrays["shape/representer/cells"].astype(np.int32)
    triangles = cells if cells.ndim == 2 and cells.shape[1] == 3 else cells.T
    albedo_mean, albedo = linear_colours(*parts["color"])
    moved = parts["expression"]
    fields: dict[str, Any] = {
        "mean": parts["shape"][0] + moved[0], "identity": parts["shape"][1], "expression": moved[1],
        "albedo_mean": albedo_mean, "albedo": albedo, "triangles": np.ascontiguousarray(triangles),
        **expression_tables(len(moved[1]), prefix="expression")}
    return checked(HeadSource(family="bfm", **fields))
