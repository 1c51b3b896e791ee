"""The table of commands: the class of each one's options, from which `--help` is made, and the function that runs it.

Options stand beside what they steer, in `commands`. No JAX and no work is imported there at the top, so that help is quick.
"""

from fitkit.cli.commands.assets import AssetsImport, AssetsList, AssetsVerify
from fitkit.cli.commands.bench import Bench
from fitkit.cli.commands.convert import Convert, Transfer
from fitkit.cli.commands.doctor import Doctor, Heads, Recipes
from fitkit.cli.commands.evaluate.ablation import EvalAblation
from fitkit.cli.commands.evaluate.depth import EvalDepth
from fitkit.cli.commands.evaluate.folder import EvalFolder
from fitkit.cli.commands.evaluate.networks import EvalNetworks
from fitkit.cli.commands.evaluate.synthetic import EvalSynthetic
from fitkit.cli.commands.fit import Fit
from fitkit.cli.commands.labels.make import LabelsMake
from fitkit.cli.commands.labels.motion import LabelsMotion
from fitkit.cli.commands.labels.show import LabelsShow
from fitkit.cli.commands.predict import Predict
from fitkit.cli.commands.render import Render
from fitkit.cli.commands.report import Report
from fitkit.cli.commands.track import Track
from fitkit.cli.commands.train import Train
from fitkit.cli.commands.unwrap import Unwrap
from fitkit.cli.commands.view import View

Command = (Fit | Predict | Report | Track | Unwrap | Render | Doctor | Heads | Recipes | EvalSynthetic | EvalFolder | EvalAblation
           | Bench | AssetsList | AssetsVerify | AssetsImport | LabelsMake | LabelsShow | LabelsMotion | Train | Convert
           | Transfer | View | EvalDepth | EvalNetworks)
# a name of two words is a command in a group
COMMANDS: dict[str, type[Command]] = {
    "fit": Fit, "predict": Predict, "report": Report, "track": Track, "unwrap": Unwrap, "render": Render, "view": View,
    "convert": Convert,
    "transfer": Transfer, "doctor": Doctor, "heads": Heads, "recipes": Recipes,
    "eval synthetic": EvalSynthetic, "eval folder": EvalFolder, "eval depth": EvalDepth,
    "eval ablation": EvalAblation, "eval networks": EvalNetworks, "bench": Bench,
    "assets list": AssetsList, "assets verify": AssetsVerify, "assets import": AssetsImport,
    "labels make": LabelsMake, "labels show": LabelsShow, "labels motion": LabelsMotion, "train": Train}
# the module in `commands` and its function, which takes the options and the console and returns the exit status; `fit` takes the
# recipe fields of a configuration file between them
RUN_BY: dict[type[Command], str] = {
    Fit: "fit:run_fit", Predict: "fit:run_predict", Report: "report:run_report", Track: "track:run_track",
    Unwrap: "unwrap:run_unwrap", Render: "render:run_render", View: "view:run_view", Convert: "convert:run_convert",
    Doctor: "doctor:run_doctor", Heads: "doctor:run_heads", Recipes: "doctor:run_recipes",
    EvalSynthetic: "evaluate.synthetic:run_synthetic", EvalFolder: "evaluate.folder:run_folder",
    EvalDepth: "evaluate.depth:run_depth",
    EvalAblation: "evaluate.ablation:run_ablation", EvalNetworks: "evaluate.networks:run_networks",
    Bench: "bench:run_bench", Transfer: "convert:run_transfer",
    AssetsList: "assets:run_list", AssetsVerify: "assets:run_list", AssetsImport: "assets:run_import",
    LabelsMake: "labels.make:run_make", LabelsShow: "labels.show:run_show", LabelsMotion: "labels.motion:run_motion",
    Train: "train:run_train"}
