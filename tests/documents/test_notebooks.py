"""The notebooks run from top to bottom, and their pictures are pictures."""

import pathlib

import jupytext
import numpy as np

NOTEBOOKS = pathlib.Path(__file__).parents[2] / "notebooks"


def test_quickstart_runs(tmp_path, monkeypatch):
    path = NOTEBOOKS / "quickstart.py"
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert len(cells) > 8
    monkeypatch.chdir(tmp_path)
    names: dict = {"__file__": str(path), "__name__": "__main__"}
    for cell in cells:
        exec(compile(cell, str(path), "exec"), names)  # noqa: S102
    for name, width in (("sheet", 1536), ("turned", 768), ("relit", 768), ("animated", 768)):
        picture = np.asarray(names[name])
        assert picture.shape[1] == width and picture.std() > 10, name
    assert not np.array_equal(*(np.asarray(names["animated"])[:, i : i + 256] for i in (0, 256)))
    assert (tmp_path / "out" / "astronaut" / "mesh.glb").is_file()
