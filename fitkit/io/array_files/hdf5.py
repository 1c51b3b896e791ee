"""Reads arrays of an HDF5 file in a process of its own: the library that reads them is large, and a file may bring it down.

The child opens the file, refuses links to other files, virtual and external data, and filters that would be loaded as code, and
hands the arrays over as safetensors. It has bounds of time and memory. Needs the extra `heads`. Used by `models.heads.bfm`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fitkit.errors import FitkitError
from fitkit.io.tensor_files import parse_tensors
from fitkit.io.untrusted import open_file, parsing

# Bounds on resources
PATIENCE = 120.0             # seconds; the largest head takes two
MEMORY = 6 * 2**30           # bytes of address space of the child
MAX_TEXT = 2**20             # bytes of a text
FILTERS = {1, 2, 3, 4}       # of HDF5's own: deflate, shuffle, checksum, szip


def read_hdf5(path: str | os.PathLike[str], *, most: int, names: tuple[str, ...], code: str, mend: str) -> dict[str, np.ndarray]:
    """The arrays of an HDF5 file that lie at the given places; what is not there is left out. Texts come as arrays of bytes.

    Args:
        path: the file.
        most: bytes of the file, and of all arrays together.
        names: places, as `shape/model/mean`.
        code: of the error.
        mend: the end of the error's sentence.

    Raises:
        FitkitError: `code`: the file cannot be read; E_DATA where h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise FitkitError("E_DATA", f"{os.fspath(path)} needs h5py; pip install 'fitkit[heads]'") from error
    del h5py
    with open_file(path, most=most, code=code, mend=mend) as file:
        magic = file.read(8)
    with parsing(code, f"{os.fspath(path)} cannot be read", mend=mend):
        if magic != b"\x89HDF\r\n\x1a\n":
            raise ValueError("it is no HDF5 file")
        environment = os.environ | {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE",
                                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-m", __name__, os.path.abspath(path), str(most), *names], capture_output=True,
                              timeout=PATIENCE, env=environment)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise ValueError(said[-1][:200] if said and done.returncode == 1 else "it ended the process that read it")
        return parse_tensors(done.stdout)[0]


def _main(path: str, most: int, names: list[str]) -> bytes:
    """The arrays of a file, as safetensors; run in the child."""
    import h5py
    import safetensors.numpy

    found, left = {}, most
    with h5py.File(Path(path), "r") as file:
        for name in names:
            where, node = file, None
            for part in name.split("/"):
                link = where.get(part, getlink=True) if isinstance(where, h5py.Group) else None
                node = where.get(part) if isinstance(link, h5py.HardLink) else None
                where = node
            if not isinstance(node, h5py.Dataset):
                continue
            if node.is_virtual or node.external:
                raise ValueError(f"{name} lies in another file, which is refused")
            listed = node.id.get_create_plist()
            if not {listed.get_filter(i)[0] for i in range(listed.get_nfilters())} <= FILTERS:
                raise ValueError(f"{name} is packed in a way that is not read")
            if node.dtype.kind in "iufb":
                left -= node.size * node.dtype.itemsize
                if left < 0:
                    raise ValueError(f"its arrays are larger than {most >> 20} MB")
                found[name] = np.array(node[()], order="C")
            elif node.shape == () and node.dtype.kind in "OS":
                text = node[()]
                raw = text if isinstance(text, bytes) else str(text).encode()
                found[name] = np.frombuffer(raw[:MAX_TEXT], np.uint8)
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in found.items()})


if __name__ == "__main__":
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass      # Windows has no such bounds
    try:
        content = _main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(content)
