"""Recipes: ways to fit a face, each after a paper. `RECIPES` maps a name to its fields, its functions and its source.

A recipe takes an `Observation` of one face (pixels of a square crop) and gives a `Solution`; it reads and writes no files.
`pipeline.py` makes the observation from a photo and the result from the solution. `fitkit.fitting` shows how one is written; its
paper's own values stand beside it in `paper.toml`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from fitkit.fitting.state import Solution
from fitkit.recipes import coarsenet, df2net, dfdn, expression_proxy, ganfit, inverse_rendering, landmarks, richardson, scan
from fitkit.recipes.coarsenet.prediction import FaceReader, load_reader


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to fit a face."""

    config: type[Any]                                                      # frozen dataclass of documented fields
    function: Callable[..., Solution]      # (model, observation, config) of one face
    batch: Callable[..., Solution]         # (model, observations, active, config) of stacked faces; only active ones are fitted
    person: Callable[..., Solution]        # (model, observations, config) of stacked photos of one person
    summary: str
    paper: str
    # the network of a configuration, whose word on the photo the recipe takes (`Observation.prediction`): it then needs no points
    reader: Callable[[Any], FaceReader] | None = None
    rigs: bool = False                     # of photos of one instant it fits one expression and one head in space
    scans: bool = False                    # it is given scans and depth images in place of photos (`Observation.scan`)
    takes: tuple[str, ...] = ()            # further arguments of the three: `seed` of what is drawn, `progress` to be called
    tells: bool = False                    # `function` takes `watch`, which is called after each step

    @property
    def sees(self) -> bool:
        """Whether it asks a network, and needs no points."""
        return self.reader is not None


RECIPES: dict[str, Recipe] = {
    "inverse_rendering": Recipe(
        config=inverse_rendering.InverseRenderingConfig, function=inverse_rendering.solve, batch=inverse_rendering.solve_batch,
        person=inverse_rendering.solve_person, rigs=True,
        summary="shape, expression, albedo, light and pose from the photo's colours and points; wrinkles from its shading",
        paper="Guo et al. 2018, Section V", tells=True),
    "ganfit": Recipe(
        config=ganfit.GanfitConfig, function=ganfit.solve, batch=ganfit.solve_batch, person=ganfit.solve_person,
        summary="texture from a generator, shape and texture by an identity network: nearer to the person, some twenty seconds",
        paper="Gecer et al. 2019 (GANFIT), Sections 3 and 4.1", takes=("seed", "progress"), tells=True),
    "landmarks": Recipe(
        config=landmarks.LandmarkConfig, function=landmarks.solve, batch=landmarks.solve_batch, person=landmarks.solve_person,
        rigs=True,
        summary="pose, shape and expression from the detected points alone; fastest, no colours",
        paper="Guo et al. 2018, Eqs. 7 and 8; Zhu et al. 2015 for the sliding contour"),
    "expression_proxy": Recipe(
        config=expression_proxy.ExpressionProxyConfig, function=expression_proxy.solve, batch=expression_proxy.solve_batch,
        person=expression_proxy.solve_person,
        summary="shape from points by linear least squares, expression from what networks see; no colours",
        paper="Chen et al. 2019, Section 3"),
    "coarsenet": Recipe(
        config=coarsenet.CoarseNetConfig, function=coarsenet.solve, batch=coarsenet.solve_batch, person=coarsenet.solve_person,
        summary="what a network sees: pose, shape and expression without landmarks, then light and skin; steps to refine if wanted",
        paper="Guo et al. 2018, Section VI", reader=lambda config: load_reader()),
    "3dfacenet": Recipe(
        config=coarsenet.CoarseNetConfig, function=coarsenet.fine_recipe.solve, batch=coarsenet.fine_recipe.solve_batch,
        person=coarsenet.fine_recipe.solve_person,
        summary="what `coarsenet` sees, and the wrinkles that a second network sees on it",
        paper="Guo et al. 2018 (3DFaceNet), Sections VI and VIII", reader=lambda config: load_reader()),
    "df2net": Recipe(
        config=df2net.Df2NetConfig, function=df2net.solve, batch=df2net.solve_batch, person=df2net.solve_person,
        summary="what `coarsenet` sees, its surface moved to the depth that three networks see: dense, fine, finer",
        paper="Zeng et al. 2019 (DF2Net)", reader=lambda config: load_reader()),
    "dfdn": Recipe(
        config=dfdn.DfdnConfig, function=dfdn.solve, batch=dfdn.solve_batch, person=dfdn.solve_person,
        summary="what `coarsenet` sees, and wrinkles as displacement of its UV map, by networks for forehead, and mouth and cheeks",
        paper="Chen et al. 2019, Section 4", reader=lambda config: load_reader()),
    "richardson": Recipe(
        config=richardson.RichardsonConfig, function=richardson.solve, batch=richardson.solve_batch,
        person=richardson.solve_person,
        summary="what a network sees that is shown its last word, drawn into the photo, and corrects it: four times",
        paper="Richardson et al. 2017, Section 3", reader=richardson.load_reader),
    "scan": Recipe(
        config=scan.ScanConfig, function=scan.solve, batch=scan.solve_batch, person=scan.solve_person,
        summary="a scan (PLY, OBJ, GLB) or a depth image with its camera: shape from its points, texture from its colours",
        paper="Amberg et al. 2007 (non-rigid ICP), over the coefficients of a morphable model (Blanz and Vetter 1999)", scans=True),
}
