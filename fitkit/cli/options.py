"""The options of each command: typed, documented, with units and defaults. `--help` is made from this file.

No JAX and no work here, so that help is quick. `main.py` parses the command line into these classes.
"""

import dataclasses
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit.cli.commands.assets import AssetsImport, AssetsList, AssetsVerify
from fitkit.cli.commands.convert import Convert, Transfer
from fitkit.cli.commands.labels.make import LabelsMake
from fitkit.cli.commands.labels.motion import LabelsMotion
from fitkit.cli.commands.labels.show import LabelsShow
from fitkit.cli.commands.predict import Predict
from fitkit.cli.commands.report import Report
from fitkit.cli.commands.track import Track
from fitkit.cli.commands.train import Train
from fitkit.cli.general_options import Degrees, Flag, General, Words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a 3D face to each photo and write a result folder, OUT/NAME-HASH-RECIPE/, with fit.json, mesh.glb, mesh.obj, pictures.

    A photo is named by its file, its directory, a glob in quotes, a manifest (.txt, .csv, .parquet: path, and if wanted id, points,
    person, focal, camera), or - for a list on standard input. OUT keeps a ledger: the same command goes on where it was stopped.

    Examples:
      fitkit fit me.jpg                              one photo; the result goes to a folder in out/
      fitkit fit photos/ --out faces --faces all     every photo of a directory, every face of a photo
      fitkit fit me.jpg --recipe landmarks           from landmarks only: quick, without light and skin colour
      fitkit fit me.jpg --recipe ganfit              a closer likeness, with a generated texture: takes longer
      fitkit fit a.jpg b.jpg --same-person           two photos of one person: one identity and skin
      fitkit fit me.jpg --set weight_landmark=20     another value for a setting of the recipe
      fitkit fit me.jpg --config paper:ganfit        a recipe with its paper's own values
      fitkit fit *.jpg --json > results.jsonl        one JSON object per face, for other programs
      fitkit fit photos/ --shard 3/8                 the third of eight parts, for Slurm arrays: --shard $SLURM_ARRAY_TASK_ID/8

    The first photo compiles for up to a minute; compiled programs are kept for the next run.
    Exit status: 0 fine, 1 some photos failed, 2 usage, 3 missing data, 4 device, 5 output not writable.
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="SOURCE...", help_behavior_hint="")] = ()
    """Photos, directories of photos, globs in quotes, manifests, or - for a list on standard input."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """Recipe: how to fit. `fitkit recipes` lists and explains them."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "out"
    """Directory for the results, one folder per face, and the ledger of the run."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    landmarks: Annotated[str, arg(metavar="SOURCE")] = "mediapipe"
    """Detector (mediapipe, face-alignment), or your landmarks: a .pts or .npy file in pixels, or a directory with one per photo.
    Points that show no face of the photo are refused: normalised to [0, 1], mirrored or in (y, x) order, mostly outside it."""
    faces: Literal["largest", "all"] = "largest"
    """Which faces of a photo to fit; with `all`, folders end in -face1, -face2."""
    same_person: Flag = False
    """All photos show one person: fit one identity and skin to all of them, and expression, pose and light to each."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square crop that the fit works on; even, at least 64. Outputs keep the resolution of the photo."""
    focal: Annotated[float | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Focal length in pixels of the photo. By default from EXIF, or else estimated within bounds."""
    seed: Annotated[int, arg(metavar="NUMBER")] = 0
    """Seed of random numbers; the same seed gives the same result."""
    outputs: Annotated[str, arg(metavar="LIST")] = "all"
    """What to write, separated by commas: params, mesh, pictures, all. fit.json is always written."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of the recipe. `fitkit recipes NAME` lists its fields and their defaults."""
    config: Annotated[str | None, arg(metavar="FILE.toml|paper:NAME", help_behavior_hint="")] = None
    """Options from a TOML file: table [fit] for these options, [recipe] for the recipe's fields. The command line wins.
    paper:NAME is recipe NAME with the values that its paper states."""
    json: Flag = False
    """Write one JSON object per face to standard output, and nothing else there."""
    dry_run: Flag = False
    """Print what would be done, and do nothing."""
    overwrite: Flag = False
    """Fit again and replace existing results. By default a photo is skipped that has a whole one, of the same settings."""
    batch_size: Annotated[str, arg(metavar="NUMBER|auto")] = "auto"
    """Faces that are solved at once; auto is 1 on a CPU, which would compute them one after another, and 32 elsewhere."""
    workers: Annotated[int, arg(metavar="NUMBER")] = 1
    """Processes that fit, each with a compiled program and 1 to 2 GB of memory."""
    engine: Literal["local", "ray"] = "local"
    """Where they run: on this machine, or on a Ray cluster (pip install 'fitkit[ray]') whose machines see the same files."""
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="")] = None
    """Fit part I of N only, I from 1; the parts may run at once, on several machines that share OUT."""
    limit: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Look at the first so many photos only."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 120.0
    """Work on one photo that counts as hanging; it is given up, and the others go on. Compiling does not count."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unwrap:
    """Fit photos and write their skin colour (albedo) as UV maps, a PNG for each photo, to train a texture generator on.

    Visible skin comes from the photo, hidden skin from the other half of the face, the rest from the model. A photo whose fit is
    doubtful gives no map, because the map would teach errors. Existing maps are kept.

    Examples:
      fitkit unwrap photos/ --out maps
      python -m fitkit.recipes.train.texture_generator --maps maps --out run
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, folders, quoted globs, lists (.txt, .csv, .parquet; - for standard input); the largest face of each is used."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "maps"
    """Directory for the maps, NAME-HASH.png."""
    size: Annotated[int, arg(metavar="TEXELS")] = 512
    """Side of the square maps: 64, 128, 256, 512 or 1024."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """Recipe: how to fit. `fitkit recipes` lists and explains them."""
    overwrite: Flag = False
    """Fit again and replace existing maps."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Render:
    """Render a saved result as a picture: turned, in another light, with another expression.

    Examples:
      fitkit render out/me-1a2b3c4d --yaw 30 --out side.png
      fitkit render out/me-1a2b3c4d --light left --expression jawOpen=0.6 --expression browInnerUp=1
    """

    result: Annotated[Positional[str], arg(metavar="RESULT", help_behavior_hint="")] = ""
    """A result folder that `fitkit fit` wrote."""
    yaw: Degrees = None
    """Rotation about the vertical axis; positive turns the face to the viewer's right. By default as in the photo."""
    pitch: Degrees = None
    """Nod; positive is down. By default as in the photo."""
    roll: Degrees = None
    """Tilt; positive is counter-clockwise in the picture. By default as in the photo."""
    light: Annotated[str | None, arg(metavar="LIGHT", help_behavior_hint="")] = None
    """Lamp: front, left, right, above, below, or AZIMUTH,ELEVATION in degrees, to the right and up. Default: the photo's light."""
    expression: Annotated[Words, arg(metavar="NAME=WEIGHT")] = ()
    """Weight, 0 to 1, of one of the 52 ARKit expression shapes, like jawOpen=0.6. The others keep their fitted weights."""
    head: Annotated[str | None, arg(metavar="ict:PATH", help_behavior_hint="")] = None
    """Where the head lies that the result was fitted on, if it is none of fitkit's own."""
    out: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = ""
    """Picture to write. By default RESULT/render.png."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check this installation: versions, device, embedded data, one tiny fit. Exit status 0 if all is well."""

    json: Flag = False
    """Write the findings as one JSON object."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """List the morphable head models that can be fitted, and where each comes from."""

    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes (ways to fit) and their papers; with a name, list the fields of that recipe and their defaults.

    Examples:
      fitkit recipes
      fitkit recipes inverse_rendering
    """

    recipe: Annotated[Positional[str], arg(metavar="[RECIPE]", help_behavior_hint="")] = ""
    """The recipe to explain."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSynthetic:
    """Measure the accuracy of fits on rendered pictures of people whose 3D shape is known.

    The people are random heads of ICT-FaceKit Light, rendered by Mitsuba (pip install 'fitkit[eval]'). The table gives the mean
    distance from the true face to the fit in mm, with and without scale, for each kind of pictures and each yaw. Beside it stand
    the mean head, the prior's mean person, neutral and with the fit's expression, recipe landmarks, and the floor, our head
    registered to the true shape itself, which no fit can be expected to beat.

    Kinds are words, joined by + where they differ from portrait in several things:
      light      portrait, overcast, key_fill, hard (one lamp, cast shadows)
      skin       procedural, plain (one colour), photographic (needs --skins)
      hair       any_hair, shaved (no brows either), bearded
      renderer   mitsuba, rasterizer (fitkit's own)
      occluder   none, spectacles, hand, scarf
      expression gestures, neutral, strong
      lens       portrait_lens (35 to 85 mm), wide (28 mm)
      exposure   metered, underexposed (by 1.5 stops), overexposed (by 1)
      people     ict, embedded (of the embedded head's own prior)

    What is marked * is left out of all tuning: report it, and change nothing because of it.

    Pictures are rendered once and kept; later runs cost the fits alone, and a stopped run resumes. Tune on --split develop; report
    --split test.

    Examples:
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --subjects 5 --yaw 0 30 --recipe landmarks
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --kinds portrait hard hard+spectacles
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --kinds all --skins skins/ --subjects 5
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --split test --json scores.json --page scores.html
    """

    truth: Annotated[str, arg(metavar="ict:PATH", help_behavior_hint="")] = ""
    """Source of people with known shape: the folder or archive of ICT-FaceKit Light."""
    split: Literal["develop", "test"] = "develop"
    """Which people: seeds 0-19 to develop on, 100-119 to report."""
    subjects: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """How many people of the split. By default all 20."""
    yaw: Annotated[tuple[int, ...], arg(metavar="DEGREES")] = (0, 30, 60)
    """Rotation of the heads about the vertical axis, one picture each; left or right is random."""
    kinds: Annotated[tuple[str, ...], arg(metavar="NAME...")] = ("portrait",)
    """Kinds of pictures; `all` is every word above once, and the light and the skin that are left out of tuning together."""
    skins: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Folder of MakeHuman's skin maps, for kinds with photographic skin; without it they are skipped."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """Recipe: how to fit. `fitkit recipes` lists and explains them."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of the recipe. `fitkit recipes NAME` lists its fields and their defaults."""
    cache: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Directory that keeps the pictures and the errors of the references. By default the user's cache directory."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the scores of every picture and the table to this file."""
    page: Annotated[str | None, arg(metavar="FILE.html", help_behavior_hint="")] = None
    """Write an HTML report with every picture, its fit and a map of its errors."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalFolder:
    """Measure saved results against your own 3D scans: distance from scan to fit in mm.

    The table gives two references beside the fit: our mean head, and the floor, our head registered to the scan itself.

    RESULTS is a folder that `fitkit fit --out RESULTS` wrote. The scans lie in TRUTH, each with its landmarks beside it:
      meshes/anna.obj   or .ply; a file of its own, or the only one in a folder of that name (meshes/anna/scan.ply)
      meshes/anna.pts   or .txt, .json, .npy, .pp: x y z of the 68 iBUG points, or of 7 in this order: outer and inner corner
                        of the right eye, inner and outer corner of the left, bottom of the nose, right and left mouth corner

    A photo belongs to the scan of its name: anna.jpg, anna_2.jpg, anna-side.png and anna/IMG_01.jpg all to anna.

    Examples:
      fitkit fit photos/ --out out && fitkit eval folder out --truth meshes/
      fitkit eval folder out --truth scans/ --neutral --metric now     as the NoW challenge: neutral scans
      fitkit eval folder out --truth scans/ --unit m --json > errors.json

    Metrics: now (NoW challenge: scan to mesh, aligned with scale and without), micc (as GANFIT on MICC: 95 mm around the nose tip,
    both ways; needs 68 points and triangles), facecap (point to point). Exit status: 0 all results were measured, 1 some were not.
    """

    results: Annotated[Positional[str], arg(metavar="RESULTS", help_behavior_hint="")] = ""
    """A folder of result folders, or one result folder."""
    truth: Annotated[str, arg(metavar="TRUTH", help_behavior_hint="")] = ""
    """Folder of the scans and their landmarks."""
    metric: Annotated[str, arg(metavar="LIST")] = "now"
    """Metrics, separated by commas: now, micc, facecap, all."""
    unit: Annotated[Literal["mm", "cm", "m"], arg(metavar="mm|cm|m")] = "mm"
    """Unit of the scans and their landmarks."""
    head: Annotated[str | None, arg(metavar="ict:PATH", help_behavior_hint="")] = None
    """Where the head lies that the results were fitted on, if it is none of fitkit's own."""
    neutral: Flag = False
    """Remove the fitted expression before measuring, for scans of a neutral face."""
    json: Flag = False
    """Write one JSON object to standard output, and nothing else there: every result's errors, and the table's numbers."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalAblation:
    """Ablation of recipe ganfit on your photos: leave out one term at a time and see what it brings (GANFIT, Fig. 5).

    The table gives identity similarity, the cosine between photo and rendering by an identity network. The network that the fit
    uses overrates its own fits: import another with `fitkit assets import identity` and name it with --judge.

    Examples:
      fitkit eval ablation photos/ --sheet ablation.png
      fitkit eval ablation photos/ --judge arcface --variants "all terms" "linear texture" inverse_rendering
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, folders, quoted globs, lists (.txt, .csv, .parquet); the largest face of each is fitted."""
    judge: Annotated[str, arg(metavar="NAME")] = "embedded"
    """Identity network that measures similarity."""
    variants: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="")] = ()
    """Which variants, by their names in the table. By default all of them, which takes minutes per photo."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of recipe ganfit in all variants."""
    sheet: Annotated[str | None, arg(metavar="FILE.png", help_behavior_hint="")] = None
    """Write a picture with a row for each photo: the photo, then the variants."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the measures of every fit to this file."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure the speed of fitkit on this machine, beside the renderer DEODR if it is installed, and print a table.

    Examples:
      fitkit bench
      fitkit bench --what raster gradient --size 224 --json speed.json
      fitkit bench --ict ict-facekit.tar.xz          rendering of ICT-FaceKit's face mesh too

    It draws its own pictures, so no photo is needed. Compiling takes minutes for all measurements.
    """

    what: Annotated[tuple[str, ...], arg(metavar="NAME...")] = ("raster", "gradient", "step", "stages", "fit", "batch")
    """What to measure: rasterization, loss and gradient of a rendering, one solver step, recipes, `fit`, `fit_batch`."""
    size: Annotated[tuple[int, ...], arg(metavar="PIXELS...")] = (224, 512)
    """Sides of the pictures; even, at least 64."""
    batch: Annotated[tuple[int, ...], arg(metavar="COUNT...")] = (1, 8, 32)
    """Numbers of photos that `fit_batch` gets at once."""
    rounds: Annotated[int, arg(metavar="COUNT")] = 20
    """Timed runs of each, after one that compiles; what takes long is run less often, but 3 times at least."""
    ict: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """Folder or archive of ICT-FaceKit Light, to measure on its face mesh too."""
    json: Annotated[str | None, arg(metavar="FILE.json", help_behavior_hint="")] = None
    """Write every time, with versions and device, to this file."""
    general: OmitArgPrefixes[General] = General()


Command = (Fit | Predict | Report | Track | Unwrap | Render | Doctor | Heads | Recipes | EvalSynthetic | EvalFolder | EvalAblation
           | Bench | AssetsList | AssetsVerify | AssetsImport | LabelsMake | LabelsShow | LabelsMotion | Train | Convert
           | Transfer)
# a name of two words is a command in a group
COMMANDS: dict[str, type[Command]] = {
    "fit": Fit, "predict": Predict, "report": Report, "track": Track, "unwrap": Unwrap, "render": Render, "convert": Convert,
    "transfer": Transfer, "doctor": Doctor, "heads": Heads, "recipes": Recipes,
    "eval synthetic": EvalSynthetic, "eval folder": EvalFolder, "eval ablation": EvalAblation, "bench": Bench,
    "assets list": AssetsList, "assets verify": AssetsVerify, "assets import": AssetsImport,
    "labels make": LabelsMake, "labels show": LabelsShow, "labels motion": LabelsMotion, "train": Train}
# the module in `commands` and its function, which takes the options and the console and returns the exit status; `fit` takes the
# recipe fields of a configuration file between them
RUN_BY: dict[type[Command], str] = {
    Fit: "fit:run_fit", Predict: "fit:run_predict", Report: "report:run_report", Track: "track:run_track",
    Unwrap: "unwrap:run_unwrap", Render: "render:run_render", Convert: "convert:run_convert",
    Doctor: "doctor:run_doctor", Heads: "doctor:run_heads", Recipes: "doctor:run_recipes",
    EvalSynthetic: "evaluate:run_synthetic", EvalFolder: "evaluate:run_folder", EvalAblation: "evaluate:run_ablation",
    Bench: "bench:run_bench", Transfer: "convert:run_transfer",
    AssetsList: "assets:run_list", AssetsVerify: "assets:run_list", AssetsImport: "assets:run_import",
    LabelsMake: "labels.make:run_make", LabelsShow: "labels.show:run_show", LabelsMotion: "labels.motion:run_motion",
    Train: "train:run_train"}
