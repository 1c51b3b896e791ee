"""Reads labelled pictures: `open_labels(run)[i]`, a mapping of arrays, for grain, PyTorch or a loop; `read_record` for all of one.

    source = open_labels("run", fields=("picture", "identity", "pose"))
    source[3]["picture"]                                       # uint8 [H, W, 3]
    torch.utils.data.DataLoader(source, batch_size=32, shuffle=True)
    for batch in batches(source, size=32, seed=0): ...         # through grain, an extra: pip install 'fitkit[train]'

A source is a sequence: it has a length and is indexed at random; it can be pickled, and several processes may read it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError
from fitkit.io.untrusted import open_file
from fitkit.labels import record, shards
from fitkit.labels.record import LABELS, MAPS, PREVIOUS_LABELS, Record

PICTURES = {"picture": "png", "mask": "mask.png"}
FIELDS = (*PICTURES, *LABELS, *PREVIOUS_LABELS, *MAPS, "previous_pncc")
LARGEST_SHARD = 2**40       # bytes
FEW = ("picture", "identity", "expression", "pose")


@dataclasses.dataclass(frozen=True, eq=False)
class LabelSource:
    """The pictures of a run that are there, in order of their numbers."""

    fields: tuple[str, ...]
    paths: tuple[Path, ...]                              # of the shards
    numbers: Int[np.ndarray, " n"]                       # of the pictures
    shard: Int[np.ndarray, " n"]                         # index into `paths`
    digests: tuple[str, ...]                             # sha256, hexadecimal
    places: Int[np.ndarray, "n m 2"]                     # offset and length of each of the first m of `shards.MEMBERS`, bytes
    verify: bool

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """The fields of a picture; maps over the whole picture.

        Raises:
            FitkitError: E_RESULT, its shard is damaged; E_USAGE, its kind has no such field.
        """
        index, wanted = range(len(self))[index], set(self.fields)
        numbers, maps = wanted & {*LABELS, *PREVIOUS_LABELS}, wanted & {*MAPS, "previous_pncc"}
        few = not (self.verify or maps or "mask" in wanted)
        members = self._read(index, self.places.shape[1] if not few else 2 if numbers else 1)
        try:
            values: dict[str, Any] = {name: record.pixels_of(members[end]) for name, end in PICTURES.items() if name in wanted}
            if numbers:
                labels = record.array_of(members["labels.npy"])
                values |= {name: labels[name] for name in numbers & set(labels.dtype.names or ())}
            if maps:
                whole = record.decode(members)
                values |= {name: whole.dense(name) for name in maps}
            if missing := [name for name in self.fields if name not in values]:
                raise FitkitError("E_USAGE", f"pictures of this run have no {', '.join(missing)}; leave that out of the fields")
            return {name: np.array(values[name]) for name in self.fields}
        except (ValueError, KeyError) as error:
            raise self._damaged(index, str(error)) from error

    def _read(self, index: int, count: int) -> dict[str, bytes]:
        """The first members of a record, in one read; all of them where the digest is to be compared."""
        path, places = self.paths[self.shard[index]], self.places[index, :count]
        start, end = int(places[0, 0]), int(places[-1].sum())
        with open_file(path, most=LARGEST_SHARD, code="E_RESULT", mend=shards.anew(path)) as file:
            file.seek(start)
            data = file.read(end - start)
        members = {name: data[at - start:at - start + length]
                   for name, (at, length) in zip(shards.MEMBERS, places.tolist(), strict=False)}
        if len(data) < end - start:
            raise self._damaged(index, "the file ends before it")
        if self.verify:
            digest = hashlib.sha256()
            for member in members.values():
                digest.update(member)
            if digest.hexdigest() != self.digests[index]:
                raise self._damaged(index, "its sha256 is not that of the index")
        return members

    def _damaged(self, index: int, why: str) -> FitkitError:
        path = self.paths[self.shard[index]]
        return FitkitError("E_RESULT", f"picture {self.numbers[index]} of the shard {path} is damaged ({why}); {shards.anew(path)}")


def open_labels(run: str | Path, *, fields: Sequence[str] = FEW, verify: bool = False) -> LabelSource:
    """The pictures of a run.

    Args:
        run: the folder that `fitkit labels make` wrote; a run that is not finished has the shards that are done.
        fields: what is read of each picture: `picture`, `mask`, and any of `record.LABELS` and `record.MAPS`.
        verify: compare the sha256 of each record that is read, for which all of it is read.

    Raises:
        FitkitError: E_RESULT, no run, an empty or a damaged one; E_USAGE, an unknown field.
    """
    for name in fields:
        check_choice(name, FIELDS, code="E_USAGE", what="field of a labelled picture")
    shards.read_run(run)
    paths = tuple(path.with_suffix(".tar") for path in sorted(Path(run).glob("shard-*.json")))
    if not paths:
        raise FitkitError("E_RESULT", f"the run {run} has no shard yet; run its fitkit labels make again, which goes on")
    numbers, owners, digests, places = [], [], [], []
    for owner, path in enumerate(paths):
        described = shards.read_index(path)
        if not path.exists() or path.stat().st_size != described["bytes"]:
            length = f"has not the {described['bytes']} bytes that its index says"
            raise FitkitError("E_RESULT", f"the shard {path} is damaged: it {length}; {shards.anew(path)}")
        for entry in described["records"]:
            numbers.append(entry["number"])
            owners.append(owner)
            digests.append(entry["sha256"])
            places.append(list(entry["members"].values()))
    return LabelSource(fields=tuple(fields), paths=paths, numbers=np.array(numbers), shard=np.array(owners, np.int32),
                       digests=tuple(digests), places=np.array(places, np.int64), verify=verify)


def read_record(source: LabelSource, index: int) -> Record:
    """All of one picture, its sha256 compared.

    Raises:
        FitkitError: E_RESULT, its shard is damaged.
    """
    checked = dataclasses.replace(source, verify=True)
    return record.decode(checked._read(index, source.places.shape[1]))


def source_of(source: LabelSource, index: int) -> dict[str, Any]:
    """Where a picture comes from: number, seed, kind, head, ..."""
    return dict(json.loads(source._read(index, 3)["json"]))


def batches(
    source: LabelSource, *, size: int, seed: int = 0, epochs: int | None = None, threads: int = 2
) -> Iterator[dict[str, np.ndarray]]:
    """Shuffled batches through grain: arrays with a leading axis of `size`; the last, smaller one of an epoch is left out.

    Args:
        source: of the pictures.
        size: pictures of a batch.
        seed: of the order.
        epochs: passes over all pictures; None for no end.
        threads: that read ahead.

    Raises:
        FitkitError: E_DATA without grain.
    """
    try:
        import grain
    except ImportError as error:
        raise FitkitError("E_DATA", "batches are read through grain; pip install 'fitkit[train]'") from error
    data = grain.MapDataset.source(source).shuffle(seed=seed).repeat(epochs).batch(size, drop_remainder=True)
    yield from data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4))
