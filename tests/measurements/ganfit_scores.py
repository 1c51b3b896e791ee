"""Identity similarity of recipe `ganfit` on the test photos, by identity networks that were not used in the fit.

    python -m tests.measurements.ganfit_scores [--judge NAME ...] [--network NAME] [--photos FOLDER] [--set FIELD=VALUE ...]

Prints, for every photo, the cosine between photo and rendering of recipe `ganfit` and of stage 1 of `inverse_rendering`; for people
in several photos, whether a rendering is nearer to another photo of the same person than to any of anyone else; and whether a fit
to two photos of a person is nearer to a third photo than the fits to each of them.
"""

import argparse
import pathlib

import numpy as np

from fitkit import api, configuration
from fitkit.evaluation import identity_similarity
from fitkit.io.images import find_photos
from fitkit.models.identity.network import load_identity
from fitkit.recipes.ganfit import GanfitConfig
from tests.conftest import ASSETS
from tests.measurements.identity_scores import KNOWN

GAIN = 0.1          # of similarity over stage 1, above which photos are counted: a definition


def nearer(renderings: dict[str, np.ndarray], photos: dict[str, np.ndarray]) -> dict[str, bool]:
    """For each known photo, whether its rendering is nearer to another photo of that person than to any photo of anyone else."""
    result = {}
    for name, person in KNOWN.items():
        if name not in renderings:
            continue
        same = [other for other, who in KNOWN.items() if who == person and other != name and other in photos]
        own = [renderings[name] @ photos[other] for other in same]
        others = [renderings[name] @ vector for other, vector in photos.items() if KNOWN.get(other) != person]
        result[name] = bool(own) and max(own) > max(others)
    return result


def main() -> None:
    """Fit all photos, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", action="append", default=[], help="network that measures similarity (mobileface)")
    parser.add_argument("--network", default=GanfitConfig.network, help="identity network of the fit")
    parser.add_argument("--photos", type=pathlib.Path, default=ASSETS / "photos", help="folder of photos")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="field of recipe ganfit")
    parser.add_argument("--singles-only", action="store_true", help="leave out the fits to two photos of a person")
    options = parser.parse_args()
    judges = {name: load_identity(name=name) for name in options.judge or ["mobileface"]}
    fields = {"network": options.network} | configuration.parse_assignments(tuple(options.set))
    paths = {path.stem: path for path in find_photos(options.photos)}
    photos, renderings, before = ({judge: {} for judge in judges} for _ in range(3))
    for name, path in paths.items():
        result, start = api.fit(path, recipe="ganfit", **fields), api.fit(path, stages=1)
        line = []
        for judge, network in judges.items():
            photos[judge][name], renderings[judge][name] = identity_similarity.embeddings(network, result)
            before[judge][name] = identity_similarity.similarity(network, start)
            line.append(f"{judge}: {photos[judge][name] @ renderings[judge][name]:6.3f}, stage 1 {before[judge][name]:6.3f}")
        print(f"{name:22s} {'   '.join(line)}   {result.timings['fit']:5.1f} s  {result.status}", flush=True)
    for judge in judges:
        summarise(judge, photos[judge], renderings[judge], before[judge])
    if options.singles_only:
        return
    for person in ("dad", "man"):
        names = [name for name, who in KNOWN.items() if who == person and name in paths]
        for left in names:
            pair = [name for name in names if name != left]
            joint = api.fit([paths[name] for name in pair], same_person=True, recipe="ganfit", **fields)
            for judge, network in judges.items():
                target, single = photos[judge][left], renderings[judge]
                together = np.mean([identity_similarity.embeddings(network, fit)[1] @ target for fit in joint])    # type: ignore[arg-type]
                alone = [float(single[name] @ target) for name in pair]
                print(f"{judge}: {person}: {' + '.join(pair)} to {left}: {together:.3f}, alone {np.mean(alone):.3f} "
                      f"({', '.join(f'{value:.3f}' for value in alone)})", flush=True)


def summarise(judge: str, photos: dict[str, np.ndarray], renderings: dict[str, np.ndarray], before: dict[str, float]) -> None:
    """Print means, how many photos gain, and how many renderings are nearest to the right person, by one judge."""
    after = {name: float(photos[name] @ renderings[name]) for name in photos}
    gain = np.array([after[name] - before[name] for name in after])
    print(f"{judge}: mean {np.mean(list(after.values())):.3f}, stage 1 {np.mean(list(before.values())):.3f}; "
          f"at least {GAIN} above it on {np.sum(gain >= GAIN)} of {len(gain)}")
    found = nearer(renderings, photos)
    missed = [name for name, good in found.items() if not good]
    print(f"{judge}: nearer to the same person: {sum(found.values())} of {len(found)}; not: {missed}")


if __name__ == "__main__":
    main()
