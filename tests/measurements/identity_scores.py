"""How well identity networks tell people apart: area under the ROC of same and different pairs, on photos and on renderings.

    python -m tests.measurements.identity_scores [NAME ...]

Prints both for the embedded network and for those named ("mobileface", a file). The photos are those of `assets/photos`, which
nothing is trained on; the renderings show other people, drawn with other seeds, in textures made of the two held-out skins.
"""

import argparse
import pathlib
from collections.abc import Collection, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.color import linear_to_srgb, quantize
from fitkit.detection.face_crop import align, five_points, samples_for
from fitkit.io.images import find_photos, read_image
from fitkit.models.heads import makehuman
from fitkit.models.identity.network import Identity, embed, load_identity
from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.recipes.synthesize.textures.paint import textures
from fitkit.recipes.train.identity.pictures import MARGIN, render_people
from fitkit.rendering.texture import values_at_texels
from tests.conftest import ASSETS

# people who are in the photos more than once, by file; their face is the largest there
KNOWN = {"Family1-Dad1": "dad", "Family1-Dad2": "dad", "Family1-Dad3": "dad", "Family1-Mom1": "mom", "Family1-Mom2": "mom",
         "Family2-Man1": "man", "Family2-Man2": "man", "man2-person-group": "man"}
# one pair of photos may show the same woman (two series, same hair and collar): it is left out
DOUBTFUL = {("Family3-Lady1:0", "detection6:1")}
SEED = 1_000_000        # of the renderings; training draws with small ones
AT_ONCE = 60            # crops embedded in one call: a bound on memory


def photographed(network: Identity, folder: pathlib.Path, *, only: Collection[str] = ()) -> dict[str, float]:
    """`separation` of all faces in a folder's photos, or in those named."""
    crop = jax.jit(align, static_argnames=("frame", "samples"))
    crops, names = [], []
    for path in find_photos(folder):
        if only and path.stem not in only:
            continue
        image = read_image(path).pixels
        for number, face in enumerate(find_faces(image)):
            points = np.asarray(five_points(jnp.asarray(face.points)))
            crops.append(crop(image, points, frame=network.frame, samples=samples_for(points, frame=network.frame)))
            names.append(f"{path.stem}:{number}")
    return score(network, np.stack(crops), names)


def score(network: Identity, crops: np.ndarray, names: list[str]) -> dict[str, float]:
    """`separation` of named crops: those of `KNOWN` are one person each, all others different people."""
    vectors = np.asarray(embed(network, jnp.asarray(crops)))
    people = [KNOWN.get(name.removesuffix(":0"), name) for name in names]
    doubtful = [(names.index(a), names.index(b)) for a, b in DOUBTFUL if a in names and b in names]
    return separation(vectors @ vectors.T, people, without=doubtful)


def rendered(network: Identity, *, people: int, views: int, skins: pathlib.Path | None = None) -> dict[str, float]:
    """`separation` of renderings, in textures of the held-out skins or, without `skins`, of the head's linear albedo."""
    head = makehuman.load()
    maps = textures(skins, size=128, count=people, seed=SEED, held_out=True) if skins else plain_textures(people)
    bank = render_people(jax.random.key(SEED), head, maps, people=people, views=views, frame=network.frame)
    crops = bank.crops[:, MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float32) / 255
    vectors = np.concatenate([np.asarray(embed(network, jnp.asarray(crops[i:i + AT_ONCE]))) for i in range(0, len(crops), AT_ONCE)])
    return separation(vectors @ vectors.T, [str(person) for person in bank.people])


def plain_textures(count: int) -> Iterator[np.ndarray]:
    """UV maps of the head's linear albedo, drawn at random."""
    head = makehuman.load()
    for i in range(count):
        drawn = jax.random.normal(jax.random.fold_in(jax.random.key(SEED), i), (head.albedo.shape[0],))
        albedo = jnp.clip(head.albedo_mean + jnp.einsum("a,avc->vc", drawn, head.albedo), 0.01, 1.0)
        texels, _ = values_at_texels(head, linear_to_srgb(albedo), size=128)
        yield quantize(np.asarray(texels), np.uint8)


def separation(similarity: np.ndarray, people: list[str], *, without: Collection[tuple[int, int]] = ()) -> dict[str, float]:
    """The AUC over all pairs (the chance that a same pair is more similar than a different one), means, extremes and counts."""
    first, second = np.triu_indices(len(people), 1)
    kept = np.array([(i, j) not in without for i, j in zip(first, second, strict=True)])
    first, second = first[kept], second[kept]
    same = np.array([people[i] == people[j] for i, j in zip(first, second, strict=True)])
    pairs = similarity[first, second]
    alike, unlike = pairs[same], pairs[~same]
    wins = np.mean([(one > unlike).mean() + (one == unlike).mean() / 2 for one in alike])
    return {"auc": float(wins), "same": float(alike.mean()), "least": float(alike.min()), "different": float(unlike.mean()),
            "most": float(unlike.max()), "pairs": int(same.sum()), "others": int((~same).sum())}


def main() -> None:
    """Print the scores of the embedded network and of those named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="imported networks, or files")
    for name in ["embedded", *parser.parse_args().names]:
        network = load_identity(name=name)
        for what, found in (("photos", photographed(network, ASSETS / "photos")),
                            ("rendered", rendered(network, people=100, views=6, skins=ASSETS / "skins"))):
            print(f"{name:12} {what:9}" + " ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
