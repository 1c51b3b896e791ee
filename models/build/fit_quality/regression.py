"""Learns the terms of the score of a fit from the rows of `table.py`, prints them, and says how well they tell bad fits.

    python -m fitkit.models.build.fit_quality.regression TABLE [TABLE ...] [--report TABLE ...] [--terms NAME ...]

Logistic regression with weights of one sign (more of a term is worse) and a ridge. A picture is bad where its error in millimetres
is in the worst fifth of the pictures without a fault; a photo without one, whose shape nobody knows, counts as good; every faulty
one is bad. Pictures are judged by a score learned from other people. `--report` names tables that nothing was learned from.

Beside the score's curves stands that of an oracle, which knows what no picture shows: the error of the mean person, which is how
unusual the person is.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float

from fitkit.results.fit_quality import DOUBTFUL, TERMS, Term, beyond_limits, deviation

WORST = 0.8                # quantile of the error from which a picture is bad
PHOTO = 2.0                # weight of a photo, whole or faulty, of a picture's: they are few, and what users have; chosen
FAULTY = 0.4               # weight of all faulty rows together, of the whole: photos are mostly ordinary; chosen
RIDGE = 0.005              # of the squared weights, per row; by the curves of people left out, of 0.02 and 0.005
FOLDS = 6                  # of people
ROUND = 4                  # digits printed

Row = dict[str, Any]


def read_rows(paths: list[pathlib.Path]) -> list[Row]:
    """The rows of tables in which a face was found."""
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "evidence" in row]


def area_under_curve(score: Float[np.ndarray, " n"], bad: Bool[np.ndarray, " n"]) -> float:
    """The probability that a bad one has a higher score than a good one, ties counting half; NaN without either."""
    if bad.all() or not bad.any():
        return float("nan")
    difference = score[bad][:, None] - score[~bad]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def errors_of(rows: list[Row], *, relative: bool = False) -> Float[np.ndarray, " n"]:
    """Errors, mm, or over the mean person's; NaN where the truth is unknown."""
    return np.array([row["error"] / (row["mean"] if relative else 1.0) if "error" in row else np.nan for row in rows])


def is_faulty(rows: list[Row]) -> Bool[np.ndarray, " n"]:
    """Which rows are of faulty copies."""
    return np.array([bool(row["fault"]) for row in rows])


def worst(errors: Float[np.ndarray, " n"], among: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which errors are as large as those of the worst fifth among some; not those that are unknown."""
    return errors > np.quantile(errors[among & np.isfinite(errors)], WORST)


def deviations(rows: list[Row], terms: dict[str, Term]) -> Float[np.ndarray, "n k"]:
    """The terms of each row, unweighted; 0 where a row does not have one."""
    return np.array([[deviation(term, row["evidence"].get(name, term.typical)) for name, term in terms.items()] for row in rows])


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


def row_weights(rows: list[Row]) -> Float[np.ndarray, " n"]:
    """Weight of each row: photos count `PHOTO`, and the faulty ones have `FAULTY` of the whole."""
    faulty, weight = is_faulty(rows), np.array([1.0 if "error" in row else PHOTO for row in rows])
    return np.where(faulty, weight * FAULTY / (1 - FAULTY) * weight[~faulty].sum() / max(float(weight[faulty].sum()), 1.0), weight)


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


def curve(score: Float[np.ndarray, " n"], rows: list[Row], chosen: Bool[np.ndarray, " n"], *, relative: bool) -> float:
    """Area under the curve of a score for an error in the worst fifth of the chosen rows."""
    errors = errors_of(rows, relative=relative)
    return area_under_curve(score[chosen], worst(errors[chosen], np.ones(chosen.sum(), bool)))


def given_up(rows: list[Row]) -> Bool[np.ndarray, " n"]:
    """Which rows a single term's limit gives up, whatever the score."""
    return np.array([bool(beyond_limits(row["evidence"])) for row in rows])


def report(rows: list[Row], score: Float[np.ndarray, " n"]) -> None:
    """How well a score tells the worst fifth and faulty photos, and how many are doubtful."""
    faulty, known = is_faulty(rows), np.isfinite(errors_of(rows))
    judges = {"score": score, "mean person's error (oracle)": np.array([row.get("mean", np.nan) for row in rows])}
    for where, chosen in (("without faulty copies", known & ~faulty), ("with faulty copies", known)):
        people = len({str(row["person"]) for row, one in zip(rows, chosen, strict=True) if one})
        for name, judge in judges.items():
            if chosen.any():
                print(f"worst fifth of {chosen.sum()} pictures of {people} people, {where}, by {name}: AUC "
                      f"{curve(judge, rows, chosen, relative=False):.3f} in mm, {curve(judge, rows, chosen, relative=True):.3f} "
                      "relative to the mean person's error")
    print(f"faulty or not: AUC {area_under_curve(score, faulty):.3f}")
    groups = np.array([f"- {row['fault']}" if row["fault"] else row["kind"] if "error" not in row else "rendering" for row in rows])
    for name in sorted(set(groups)):
        own = groups == name
        print(f"  {name:24s} {own.sum():4d}, doubtful {np.sum(score[own] > 1 - DOUBTFUL):4d}, mean {score[own].mean():.2f}")
    bad = worst(errors_of(rows), known & ~faulty) if (known & ~faulty).any() else faulty
    for low in np.arange(0.0, 1.0, 0.2):
        own = known & ~faulty & (score >= low) & (score < low + 0.2)
        if own.any():
            print(f"  said {low:.1f} to {low + 0.2:.1f}: {own.sum():3d} pictures, {100 * bad[own].mean():.0f} % in the worst fifth")


def main() -> None:
    """Learn from tables and print the terms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=pathlib.Path, help="of `table.py`")
    parser.add_argument("--report", nargs="*", type=pathlib.Path, default=[], help="more tables, of pictures left out")
    parser.add_argument("--terms", nargs="*", default=list(TERMS), help="names of the evidence to use")
    options = parser.parse_args()
    rows = read_rows(options.tables)
    faulty = is_faulty(rows)
    values = np.array([[row["evidence"].get(name, np.nan) for name in options.terms] for row in rows])
    terms = {name: Term(float(np.nanmedian(column[~faulty])), float(np.nanstd(column)) + 1e-9, 1.0, "")
             for name, column in zip(options.terms, values.T, strict=True)}
    design, bad, weight = deviations(rows, terms), worst(errors_of(rows), ~faulty) | faulty, row_weights(rows)
    chosen = learn(design, bad, weight)
    print(f"BIAS = {chosen[-1]:.{ROUND}g}")
    for (name, term), part in zip(terms.items(), chosen[:-1], strict=True):
        print(f'    "{name}": Term({term.typical:.{ROUND}g}, {term.spread:.{ROUND}g}, {part:.{ROUND}g}')
    report(rows, np.where(given_up(rows), 1.0, judged_by_others(rows, design, bad, weight)))
    for path in options.report:
        others = read_rows([path])
        print(path.name)
        report(others, np.where(given_up(others), 1.0, probability(deviations(others, terms), chosen)))


if __name__ == "__main__":
    main()
