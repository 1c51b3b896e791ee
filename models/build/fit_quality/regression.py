"""Learns the terms of the score of a fit from the rows of `table.py`, prints them, and says how well they tell bad fits.

    python -m fitkit.models.build.fit_quality.regression TABLE [--report TABLE]

Logistic regression with weights of one sign (more of a term is worse) and a ridge. A picture is bad where its error, relative to
the mean person's, is in the worst fifth of the pictures without a fault; a photo without one, whose shape nobody knows, counts
as good; every faulty one is bad. Pictures are judged by a score learned from other people. `--report` names a table of pictures
that nothing was learned from.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float

from fitkit.results.fit_quality import DOUBTFUL, REACH

WORST = 0.8                # quantile of the relative error from which a picture is bad
FAULTY = 0.4               # weight of all faulty rows together, of the whole: photos are mostly ordinary; chosen
RIDGE = 0.02               # of the squared weights, per row; chosen
FOLDS = 6                  # of people
ROUND = 4                  # digits printed

Row = dict[str, Any]


def read_rows(path: pathlib.Path) -> list[Row]:
    """The rows of a table in which a face was found."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "evidence" in row]


def area_under_curve(score: Float[np.ndarray, " n"], bad: Bool[np.ndarray, " n"]) -> float:
    """The probability that a bad one has a higher score than a good one, ties counting half; NaN without either."""
    if bad.all() or not bad.any():
        return float("nan")
    difference = score[bad][:, None] - score[~bad]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def relative_error(row: Row) -> float:
    """Error over the mean person's; NaN where the truth is unknown."""
    return float(row["error"] / row["mean"]) if "error" in row else float("nan")


def worst(rows: list[Row]) -> Bool[np.ndarray, " n"]:
    """Which pictures have an error in the worst fifth of those without a fault; not of the photos."""
    errors = np.array([relative_error(row) for row in rows])
    plain = np.array([not row["fault"] for row in rows]) & np.isfinite(errors)
    return errors > np.quantile(errors[plain], WORST)


def standardised(rows: list[Row], names: list[str], typical: np.ndarray, spread: np.ndarray) -> Float[np.ndarray, "n k"]:
    """The terms of each row in spreads from the typical; 0 where a row does not have one."""
    values = np.array([[row["evidence"].get(name, np.nan) for name in names] for row in rows])
    return np.nan_to_num((values - typical) / spread).clip(*REACH)


def learn(
    terms: Float[np.ndarray, "n k"], bad: Bool[np.ndarray, " n"], weight: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " k+1"]:
    """The weights of the terms, none below 0, then the bias."""
    design = np.column_stack([terms, np.ones(len(terms))])
    share = weight / weight.sum()
    sign = np.where(bad, 1.0, -1.0)

    def loss(chosen: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ chosen)
        slope = -share * sign / (1.0 + np.exp(np.clip(margin, -50, 50)))
        return (float(share @ np.logaddexp(0.0, -margin) + RIDGE / 2 * chosen[:-1] @ chosen[:-1]),
                slope @ design + RIDGE * np.append(chosen[:-1], 0.0))

    bounds = [(0.0, None)] * terms.shape[1] + [(None, None)]
    return scipy.optimize.minimize(loss, np.zeros(design.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x


def row_weights(faulty: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weight of each row, so that the faulty ones have `FAULTY` of the whole."""
    count = max(int(faulty.sum()), 1)
    return np.where(faulty, FAULTY / (1 - FAULTY) * (~faulty).sum() / count, 1.0)


def judged_by_others(rows: list[Row], terms: np.ndarray, bad: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, " n"]:
    """The probability of each row to be bad, learned without its person."""
    people = sorted({str(row["person"]) for row in rows})
    fold = np.array([people.index(str(row["person"])) % FOLDS for row in rows])
    found = np.zeros(len(rows))
    for index in range(FOLDS):
        chosen = learn(terms[fold != index], bad[fold != index], weight[fold != index])
        found[fold == index] = probability(terms[fold == index], chosen)
    return found


def probability(terms: Float[np.ndarray, "n k"], chosen: Float[np.ndarray, " k+1"]) -> Float[np.ndarray, " n"]:
    """Of each row to be bad."""
    return 1.0 / (1.0 + np.exp(-(terms @ chosen[:-1] + chosen[-1])))


def report(rows: list[Row], score: Float[np.ndarray, " n"]) -> None:
    """How well a score tells the worst fifth and faulty photos, and how many are doubtful."""
    faulty, bad = np.array([bool(row["fault"]) for row in rows]), worst(rows)
    known = np.array(["error" in row for row in rows]) & ~faulty
    absolute = np.array([row.get("error", np.nan) for row in rows])
    far = absolute[known] > np.quantile(absolute[known], WORST)
    print(f"worst fifth of {known.sum()} pictures: AUC {area_under_curve(score[known], bad[known]):.3f}; of errors in mm, not "
          f"relative to the mean person's: {area_under_curve(score[known], far):.3f}")
    print(f"faulty or not: AUC {area_under_curve(score, faulty):.3f}")
    for name in sorted({f"{row['kind'] if not row['fault'] else '-'} {row['fault']}".strip() for row in rows}):
        own = np.array([f"{row['kind'] if not row['fault'] else '-'} {row['fault']}".strip() == name for row in rows])
        print(f"  {name:24s} {own.sum():4d}, doubtful {np.sum(score[own] > 1 - DOUBTFUL):4d}, mean {score[own].mean():.2f}")
    for low in np.arange(0.0, 1.0, 0.2):
        own = known & (score >= low) & (score < low + 0.2)
        if own.any():
            print(f"  said {low:.1f} to {low + 0.2:.1f}: {own.sum():3d} pictures, {100 * bad[own].mean():.0f} % in the worst fifth")


def main() -> None:
    """Learn from a table and print the terms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=pathlib.Path, help="of `table.py`")
    parser.add_argument("--report", type=pathlib.Path, help="another table, of pictures left out")
    options = parser.parse_args()
    rows = read_rows(options.table)
    faulty = np.array([bool(row["fault"]) for row in rows])
    names = sorted({name for row in rows for name in row["evidence"]})
    values = np.array([[row["evidence"].get(name, np.nan) for name in names] for row in rows])
    typical, spread = np.nanmedian(values[~faulty], 0), np.nanstd(values, 0) + 1e-9
    terms, bad = standardised(rows, names, typical, spread), worst(rows) | faulty
    weight = row_weights(faulty)
    chosen = learn(terms, bad, weight)
    print(f"BIAS = {chosen[-1]:.{ROUND}g}")
    for name, *numbers in zip(names, typical, spread, chosen[:-1], strict=True):
        print(f'    "{name}": Term(' + ", ".join(f"{number:.{ROUND}g}" for number in numbers) + ")")
    report(rows, judged_by_others(rows, terms, bad, weight))
    if options.report:
        others = read_rows(options.report)
        report(others, probability(standardised(others, names, typical, spread), chosen))


if __name__ == "__main__":
    main()
