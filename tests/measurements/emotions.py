"""What an Emotion-Net tells, judged by labels and by face-api's expression network, which learned from photographs.

    fitkit labels make expressions --out held --count 600 --seed 12 --skins SKINS
    python -m tests.measurements.emotions held emotion_net.safetensors [--photos FOLDER]

Prints, of the pictures of HELD: mean over emotions of the share that each network tells as labels have it (contempt, which face-api
does not know, apart), and how often both agree; then what both say of the largest face of each photo.
"""

import argparse
import json
import pathlib

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from fitkit.io.images import find_photos, read_image
from fitkit.io.tensor_files import read_tensors
from fitkit.labels.reading import open_labels
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FaceCrop, cut_crop
from fitkit.models.expression import face_api
from fitkit.models.expression.emotion_net import EmotionNet, EmotionNetSizes
from fitkit.models.finenet.inputs import GREY
from fitkit.models.mediapipe import facemesh
from fitkit.models.parameters import with_parameters
from fitkit.recipes.synthesize.emotions import CLASSES, emotion_of
from fitkit.recipes.train.emotion_net.task import TIGHT, see

MOST = 1 << 26      # bytes of a weight file
# Emotion-Net's classes by face-api's names; it has none for contempt
JUDGED = {"happy": "happy", "sad": "sad", "surprised": "surprised", "afraid": "fearful", "disgusted": "disgusted", "angry": "angry",
          "none": "neutral"}


def load_network(path: pathlib.Path) -> tuple[EmotionNet, int]:
    """A trained network, and the side of its pictures."""
    stored, facts = read_tensors(path, most=MOST, code="E_DATA", what="the weights", mend="train an Emotion-Net")
    config = json.loads(facts["config"])
    sizes = EmotionNetSizes(**{**config, "dense": tuple(config["dense"])})
    network = nnx.eval_shape(lambda: EmotionNet(sizes, rngs=nnx.Rngs(0)))
    network.eval()
    return with_parameters(network, {name: jnp.asarray(value, jnp.float32) for name, value in stored.items()}), sizes.side


def crops(picture: np.ndarray, points468: Float[np.ndarray, "468 2"], side: int) -> tuple[np.ndarray, np.ndarray]:
    """A face as Emotion-Net sees it, grey in [-1, 1], and as face-api does, sRGB in [0, 1]."""
    low, high = points468.min(axis=0), points468.max(axis=0)
    extent = TIGHT * float((high - low).max())
    crop = FaceCrop(corner=((low + high - extent) / 2).astype(np.float32), side=extent)
    grey = cut_crop(picture, crop, side=side) @ np.array(GREY) / 127.5 - 1
    return np.asarray(grey), cut_crop(picture, crop, side=face_api.SIDE) / 255


def both(network: EmotionNet, grey: np.ndarray, color: np.ndarray) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The class that each network tells; face-api's by `CLASSES`, contempt left out of both."""
    logits = np.array(see(network, grey.astype(np.float32)).logits)
    logits[:, CLASSES.index("contemptuous")] = -np.inf
    judged = face_api.emotions(face_api.load_face_api(), jnp.asarray(color, jnp.float32)).probability
    columns = [face_api.EMOTIONS.index(JUDGED[name]) if name in JUDGED else 0 for name in CLASSES]
    known = np.array([name in JUDGED for name in CLASSES])
    return logits.argmax(1), np.where(known, np.asarray(judged)[:, columns], -1).argmax(1)


def main() -> None:
    """Print the shares, and what is said of photos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("held", type=pathlib.Path, help="labels of kind expressions, of another seed than the training's")
    parser.add_argument("weights", type=pathlib.Path, help="of `fitkit train emotion_net`")
    parser.add_argument("--photos", type=pathlib.Path, help="folder of photos")
    options = parser.parse_args()
    network, side = load_network(options.weights)
    source = open_labels(options.held, fields=("picture", "points468", "expression"))
    rows = [source[row] for row in range(len(source))]
    true = emotion_of(np.stack([row["expression"] for row in rows]), heads.load("makehuman").expression_names)
    grey, color = (np.stack(each) for each in zip(*(crops(row["picture"], row["points468"], side) for row in rows), strict=True))
    ours, judged = both(network, grey, color)
    names = [index for index, name in enumerate(CLASSES) if name in JUDGED and np.any(true == index)]
    for label, told in (("Emotion-Net", ours), ("face-api", judged)):
        shares = [float((told[true == index] == index).mean()) for index in names]
        each = ", ".join(f"{CLASSES[index]} {share:.2f}" for index, share in zip(names, shares, strict=True))
        print(f"{label}: {100 * np.mean(shares):.1f} % of an emotion on average ({each}); chance {100 / len(names):.1f} %")
    print(f"both agree on {100 * (ours == judged).mean():.1f} %; where face-api is right Emotion-Net is on"
          f" {100 * (ours == true)[judged == true].mean():.1f} %", flush=True)
    for path in find_photos(options.photos) if options.photos else []:
        picture = read_image(path).pixels
        faces = facemesh.find_faces(picture)
        if faces:
            largest = max(faces, key=lambda face: np.ptp(face.points, axis=0).max())
            one, other = crops((picture * 255).astype(np.uint8), largest.points, side)
            told, judge = both(network, one[None], other[None])
            print(f"{path.name}: Emotion-Net {CLASSES[int(told[0])]}, face-api {CLASSES[int(judge[0])]}", flush=True)


if __name__ == "__main__":
    main()
