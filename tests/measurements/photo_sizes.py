"""How large heads come out of photographs of people, whose sizes nobody measured: by irises, and by how far eyes stand apart.

    python -m tests.measurements.photo_sizes [photos_train] [--recipe landmarks]

Every face of a folder of `shared/assets` is fitted. A person's irises have 11.7 mm within 0.45, adults' pupils a distance of 63.4
mm within 3.8. Printed: of each face the irises and pupils in the head's own millimetres, and the size that the result tells; the
logarithm of the true over the fitted head's size by irises and by pupils, and the deviation of the size that their spread leaves
when the persons' own and the reading's are taken off; and the same of pupils in the size that results tell.
"""

import argparse
import json

import numpy as np

import fitkit
from fitkit.device import keep_compiled_programs
from fitkit.results.metric.iris import IRIS_DEVIATION, IRIS_TYPICAL
from fitkit.results.metric.measures import measures
from fitkit.results.metric.true_size import IRIS_READ
from tests.conftest import ASSETS

PUPILS_TYPICAL, PUPILS_DEVIATION = 63.4, 3.8      # mm, adults looking far away (Dodgson 2004)
ENDINGS = (".jpg", ".png")


def main() -> None:
    """Fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="?", choices=("photos", "photos_train"), default="photos_train")
    parser.add_argument("--recipe", default="landmarks")
    options = parser.parse_args()
    keep_compiled_programs()
    fields = {"stages": 1} if options.recipe == "inverse_rendering" else {}
    rows = []
    for path in sorted(each for each in (ASSETS / options.which).iterdir() if each.suffix in ENDINGS):
        try:
            results = fitkit.fit_faces(path, recipe=options.recipe, **fields)
        except fitkit.FitkitError as error:
            print(f"{path.name}: {error.code}")
            continue
        for result in results:
            if result.status != "converged":
                continue
            pupils = float(measures(result.model, result.parameters.identity)["interpupillary_distance"])
            size = result.true_size
            rows.append((np.nan if size.iris is None else size.iris, pupils, size.factor))
            print(json.dumps({"photo": path.name, "face": result.face, "iris": size.iris, "pupils": round(pupils, 1),
                              "factor": round(size.factor, 3), "focal": result.focal_source}), flush=True)
    iris, pupils, factor = np.array(rows).T
    seen = np.isfinite(iris)
    by_iris, by_pupils = np.log(IRIS_TYPICAL / iris[seen]), np.log(PUPILS_TYPICAL / pupils)
    persons = np.hypot(IRIS_DEVIATION / IRIS_TYPICAL, IRIS_READ)
    for name, values, own in (("irises", by_iris, persons), ("pupils", by_pupils, PUPILS_DEVIATION / PUPILS_TYPICAL)):
        spread = 100 * np.sqrt(max(values.var() - own**2, 0.0))
        print(f"{name} of {len(values)} faces: true over fitted {100 * values.mean():+.1f} %, median"
              f" {100 * np.median(values):+.1f}, deviation {100 * values.std():.1f}; of the head's size {spread:.1f} %")
    told = np.log(PUPILS_TYPICAL / (pupils * factor))
    print(f"pupils in the size that results tell: true over told {100 * told.mean():+.1f} %, deviation {100 * told.std():.1f}")


if __name__ == "__main__":
    main()
