"""The options of each command: typed, documented, with units and defaults. `--help` is made from this file.

No JAX and no work here, so that help is quick. `cli.py` reads the command line into these and acts on them.
"""

import dataclasses
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, UseCounterAction, arg

from fitkit.device import Device

# an empty hint keeps "(default: None)" and "(default: False)" out of the help
Flag = Annotated[bool, arg(help_behavior_hint="")]
Words = UseAppendAction[tuple[str, ...]]
Degrees = Annotated[float | None, arg(metavar="DEGREES", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class General:
    """Options of every command."""

    device: Annotated[Device | None, arg(metavar="cpu|gpu|tpu", help_behavior_hint="")] = None
    """Where to compute. Without it: the fastest device that JAX finds."""
    verbose: Annotated[UseCounterAction[int], arg(aliases=["-v"])] = 0
    """Say more: notes and timings (-v), tracebacks of errors (-vv)."""
    quiet: Annotated[bool, arg(aliases=["-q"], help_behavior_hint="")] = False
    """Say only what went wrong."""
    debug: Flag = False
    """Show the traceback of an error, like -vv."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a 3D face to each photo and write a result folder for it: OUT/NAME-HASH/ with fit.json, mesh.glb, mesh.obj, pictures.

    Examples:
      fitkit fit me.jpg                              one photo; the result goes to out/me-1a2b3c4d/
      fitkit fit photos/ --out faces --faces all     every photo of a directory, every face of a photo
      fitkit fit me.jpg --recipe landmarks           landmarks only: quick, no light, no skin colour
      fitkit fit me.jpg --set weight_landmark=20     another value for a field of the recipe
      fitkit fit me.jpg --config paper:ganfit        a recipe with its paper's own values
      fitkit fit *.jpg --json > results.jsonl        one JSON object per face, for other programs

    The first photo compiles for up to a minute; compiled programs are kept for the next run.
    Exit status: 0 fine, 1 some photos failed, 2 usage, 3 missing data, 4 device, 5 output not writable.
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, or directories of photos."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """How to fit; `fitkit recipes` lists them."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "out"
    """Directory that gets one result folder per face."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head; `fitkit heads` lists them."""
    landmarks: Annotated[str, arg(metavar="SOURCE")] = "mediapipe"
    """Detector (mediapipe, face-alignment), or a .pts or .npy file of points in pixels, or a directory of such files."""
    faces: Literal["largest", "all"] = "largest"
    """Which faces of a photo; with `all` the folders end in -face1, -face2."""
    same_person: Flag = False
    """All photos show one person: fit one identity and skin to them together, with an expression, pose and light for each photo."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square crop the fit works on, pixels; even, at least 64. Outputs follow the photo's own resolution."""
    focal: Annotated[float | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Focal length, pixels of the photo. Without it: from EXIF, or else estimated within bounds."""
    seed: Annotated[int, arg(metavar="NUMBER")] = 0
    """Seed of everything random; the same seed gives the same result."""
    outputs: Annotated[str, arg(metavar="LIST")] = "all"
    """What to write, separated by commas: params, mesh, pictures, all."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Another value for a field of the recipe; `fitkit recipes NAME` lists them."""
    config: Annotated[str | None, arg(metavar="FILE.toml|paper:NAME", help_behavior_hint="")] = None
    """Options from a TOML file: table [fit] for these options, [recipe] for the recipe's fields. The command line wins.
    paper:NAME is recipe NAME with the values that its paper states."""
    json: Flag = False
    """Write one JSON object per face to standard output, and nothing else there."""
    dry_run: Flag = False
    """Say what would be done, and do nothing."""
    overwrite: Flag = False
    """Fit again where a result is there already; without it, that photo is skipped."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unwrap:
    """Fit photos and write their completed skin as UV maps, a PNG for each photo, to train a texture generator on your people.

    Visible skin comes from the photo, hidden skin from the other half of the face, the rest from the model. A photo whose fit is
    doubtful gives no map. Maps that are there already are kept.

    Examples:
      fitkit unwrap photos/ --out maps
      python -m fitkit.recipes.train.texture_generator.training --maps maps --out run
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, or directories of photos; the largest face of each."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "maps"
    """Directory that gets the maps, NAME-HASH.png."""
    size: Annotated[int, arg(metavar="TEXELS")] = 512
    """Side of the maps: 64, 128, 256, 512 or 1024."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """How to fit; `fitkit recipes` lists them."""
    overwrite: Flag = False
    """Make maps anew that are there already."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Render:
    """Render a saved face again: turned, in another light, with another expression.

    Examples:
      fitkit render out/me-1a2b3c4d --yaw 30 --out side.png
      fitkit render out/me-1a2b3c4d --light left --expression jawOpen=0.6 --expression browInnerUp=1
    """

    result: Annotated[Positional[str], arg(metavar="RESULT", help_behavior_hint="")] = ""
    """A result folder that `fitkit fit` wrote."""
    yaw: Degrees = None
    """Turn of the head about the vertical axis; positive: towards the viewer's right. Without it: as in the photo."""
    pitch: Degrees = None
    """Nod; positive: down. Without it: as in the photo."""
    roll: Degrees = None
    """Tilt; positive: counter-clockwise in the picture. Without it: as in the photo."""
    light: Annotated[str | None, arg(metavar="LIGHT", help_behavior_hint="")] = None
    """front, left, right, above or below, as the viewer sees it, or a lamp's AZIMUTH,ELEVATION in degrees to the right and up."""
    expression: Annotated[Words, arg(metavar="NAME=WEIGHT")] = ()
    """An ARKit shape and its weight, 0 to 1, like jawOpen=0.6. The fitted weights stay for the others."""
    out: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = ""
    """Picture to write (PNG). Without it: RESULT/render.png."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check this installation: versions, device, embedded data, one tiny fit. Exit status 0 where all is well."""

    json: Flag = False
    """Write the findings as one JSON object."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """List the morphable heads, and where each comes from."""

    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes and their papers; with a name, its fields, their defaults and what they mean.

    Examples:
      fitkit recipes
      fitkit recipes inverse_rendering
    """

    recipe: Annotated[Positional[str], arg(metavar="[RECIPE]", help_behavior_hint="")] = ""
    """The recipe to explain."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSynthetic:
    """Measure fits on rendered pictures of ICT-FaceKit people, whose shape is known; beside them the mean head and the floor.

    Pictures are rendered once, by Mitsuba (pip install 'fitkit[eval]'), and kept; later runs cost the fits alone. A run that was
    stopped goes on where it was. Tune on --split develop; report --split test.

    Examples:
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --subjects 5 --yaw 0 30 --recipe landmarks
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --split test --json scores.json --page scores.html
    """

    truth: Annotated[str, arg(metavar="ict:PATH", help_behavior_hint="")] = ""
    """Where the truth comes from: folder or archive of ICT-FaceKit Light."""
    split: Literal["develop", "test"] = "develop"
    """Which subjects: seeds 0-19 to develop on, 100-119 to report."""
    subjects: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Only the first so many. Without it: all 20."""
    yaw: Annotated[tuple[int, ...], arg(metavar="DEGREES")] = (0, 30, 60)
    """How far the heads are turned; which way is drawn."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """How to fit; `fitkit recipes` lists them."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head; `fitkit heads` lists them."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Another value for a field of the recipe; `fitkit recipes NAME` lists them."""
    cache: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Where pictures and floors are kept. Without it: the user's cache directory."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write every picture's scores and the table to this file."""
    page: Annotated[str | None, arg(metavar="FILE.html", help_behavior_hint="")] = None
    """Write a page with every picture, its fit and its errors on the head."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalFolder:
    """Measure fits against your own scans: distance to the scan in mm, beside our mean head and beside the floor.

    RESULTS is a folder that `fitkit fit --out RESULTS` wrote. The scans lie in TRUTH, each with its landmarks beside it:
      meshes/anna.obj   or .ply; a file of its own, or the only one in a folder of that name (meshes/anna/scan.ply)
      meshes/anna.pts   or .txt, .json, .npy, .pp: x y z of the 68 iBUG points, or of 7 in this order: outer and inner corner
                        of the right eye, inner and outer corner of the left, bottom of the nose, right and left mouth corner

    A photo belongs to the scan of its name: anna.jpg, anna_2.jpg, anna-side.png and anna/IMG_01.jpg all to anna.

    Examples:
      fitkit fit photos/ --out out && fitkit eval folder out --truth meshes/
      fitkit eval folder out --truth scans/ --neutral --metric now     as the NoW challenge: scans without expression
      fitkit eval folder out --truth scans/ --unit m --json > errors.json

    Measures: now (scan to mesh, with scale and without), micc (95 mm round the nose, both ways; needs 68 points and triangles),
    facecap (point to point). Exit status: 0 every result was measured, 1 one could not be.
    """

    results: Annotated[Positional[str], arg(metavar="RESULTS", help_behavior_hint="")] = ""
    """A folder of result folders, or one result folder."""
    truth: Annotated[str, arg(metavar="TRUTH", help_behavior_hint="")] = ""
    """The folder of the scans and their landmarks."""
    metric: Annotated[str, arg(metavar="LIST")] = "now"
    """What to measure, separated by commas: now, micc, facecap, all."""
    unit: Annotated[Literal["mm", "cm", "m"], arg(metavar="mm|cm|m")] = "mm"
    """Unit of the scans and their landmarks."""
    neutral: Flag = False
    """Measure the fitted face without its expression, for scans of a neutral face."""
    json: Flag = False
    """Write one JSON object to standard output, and nothing else there: every result's errors, and the table's numbers."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalAblation:
    """Leave one term of recipe ganfit out at a time, fit your photos, and see what each brings (GANFIT, Fig. 5).

    Likeness is the cosine between photo and rendering by an identity network. The one the fit uses judges itself too kindly: import
    another with `fitkit assets import identity` and name it with --judge.

    Examples:
      fitkit eval ablation photos/ --sheet ablation.png
      fitkit eval ablation photos/ --judge arcface --variants "all terms" "linear texture" inverse_rendering
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, or directories of photos; the largest face of each is fitted."""
    judge: Annotated[str, arg(metavar="NAME")] = "embedded"
    """Identity network that measures the likeness."""
    variants: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="")] = ()
    """Which variants, by the names of the table. Without it: all of them, which takes minutes for each photo."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Another value for a field of recipe ganfit, in all variants."""
    sheet: Annotated[str | None, arg(metavar="FILE.png", help_behavior_hint="")] = None
    """Write a picture with a row for each photo: the photo, then the variants."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write every fit's measures to this file."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure how fast fitkit is on this machine, beside DEODR where it is installed, and print a table.

    Examples:
      fitkit bench
      fitkit bench --what raster gradient --size 224 --json speed.json
      fitkit bench --ict ict-facekit.tar.xz          the drawing on ICT-FaceKit's face mesh too

    Needs nothing but the embedded head. The first run compiles, for minutes with every measurement.
    """

    what: Annotated[tuple[str, ...], arg(metavar="NAME...")] = ("raster", "gradient", "step", "stages", "fit", "batch")
    """What to measure."""
    size: Annotated[tuple[int, ...], arg(metavar="PIXELS...")] = (224, 512)
    """Sides of the pictures; even, at least 64."""
    batch: Annotated[tuple[int, ...], arg(metavar="COUNT...")] = (1, 8, 32)
    """How many faces `fit_batch` gets at once."""
    rounds: Annotated[int, arg(metavar="COUNT")] = 20
    """How often each is run, after once to compile; what takes long is run 3 times at least."""
    ict: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """Folder or archive of ICT-FaceKit, for lines on its face mesh."""
    json: Annotated[str | None, arg(metavar="FILE.json", help_behavior_hint="")] = None
    """File that gets every time taken, with versions and device."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssetsImport:
    """Convert a file of weights that is yours, prove the conversion, and keep it in your data folder.

    Kinds: identity (who a face is): an ArcFace .onnx file, which needs pip install 'fitkit[tables]', or MobileFace's .params file
    with its -symbol.json beside it. The licence of such a file stays what it is.

    Examples:
      fitkit assets import identity w600k_r50.onnx
      fitkit assets import identity MobileFace_Identification_V2-0000.params --name judge
    """

    kind: Annotated[Positional[str], arg(metavar="KIND", help_behavior_hint="")] = ""
    """What the file is: identity."""
    file: Annotated[Positional[str], arg(metavar="FILE", help_behavior_hint="")] = ""
    """The file to convert; it stays as it is."""
    name: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """What it shall be known by. Without it: arcface or mobileface, by what it is."""
    general: OmitArgPrefixes[General] = General()


Command = Fit | Unwrap | Render | Doctor | Heads | Recipes | EvalSynthetic | EvalFolder | EvalAblation | Bench | AssetsImport
# a name of two words is a command of a group
COMMANDS: dict[str, type[Command]] = {
    "fit": Fit, "unwrap": Unwrap, "render": Render, "doctor": Doctor, "heads": Heads, "recipes": Recipes,
    "eval synthetic": EvalSynthetic, "eval folder": EvalFolder, "eval ablation": EvalAblation, "bench": Bench,
    "assets import": AssetsImport}
