"""The meshes of one picture of the synthetic benchmark, coloured and posed: a person, a shirt, and what is before the face.

View frame (x right, y up, z to the viewer), millimetres; colours per vertex, linear RGB. Lashes, tear fluid and shadow cards of
ICT-FaceKit are transparent in a skin renderer and are left out. Amounts are chosen, not measured.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.evaluation.synthetic import environment_light, skin_appearance, skin_maps
from fitkit.evaluation.synthetic.kinds import Kind
from fitkit.evaluation.synthetic.populations import PartMesh, Population
from fitkit.evaluation.synthetic.skin_appearance import Appearance
from fitkit.evaluation.synthetic.subjects import Person, View
from fitkit.morphable import subdivision
from fitkit.recipes.synthesize import occluders
from fitkit.recipes.synthesize.relief import grooves
from fitkit.recipes.synthesize.relief.surface import texel_surface

# surfaces: parameters of Mitsuba's principled BSDF; the skin's roughness is the person's
SKIN_COAT = {"specular": 0.45, "clearcoat": 0.12, "clearcoat_gloss": 0.6}
WET_COAT = {"roughness": 0.15, "specular": 0.5}
EYE_COAT = {"roughness": 0.06, "specular": 0.6}
CLOTH_COAT = {"roughness": 0.9, "specular": 0.1}
INNER_COLOURS = {"socket": skin_appearance.SOCKET, "gum": skin_appearance.GUM, "teeth": skin_appearance.TEETH}
EYE_SUBDIVISIONS = 2
SHIRT_ELLIPSOID = ((0.0, -285.0, -85.0), (240.0, 150.0, 130.0))     # mm in the head's frame: middle and radii
RELIEF_TEXELS = 512                         # side of the map on which the lines of wrinkles are drawn
AGE = (55.0, 80.0)                          # years, range of people with wrinkles
SHIRT_LEVEL, SHIRT_TINT = (0.02, 0.5), 0.5
OCCLUDER_PART = "before_face"               # parts whose name begins so are before the face


@dataclasses.dataclass(frozen=True, kw_only=True)
class Studio:
    """Picture size and render quality. Its `repr` is part of the name of the cache folder.

    Attributes:
        width: pixels.
        height: pixels.
        samples: paths per pixel.
        bounces: most segments of a path.
        subdivisions: of the skin, so that vertex colours are finer than pixels.
    """

    width: int = 384
    height: int = 512
    samples: int = 16
    bounces: int = 3
    subdivisions: int = 2


# vertices (view frame, mm), triangles, vertex colours (linear RGB), parameters of the BSDF
Part = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class SkinPaint:
    """The colours of a person in a kind of picture.

    Attributes:
        kind: what is photographed.
        population: of the person.
        seed: of the person.
        skins: folder of MakeHuman's skin maps, for `photographic`.
        level: whether kind `wrinkled` leaves its wrinkles out: the same mesh without them, to compare with.
    """

    kind: Kind
    population: Population
    seed: int
    skins: str | None
    level: bool = False

    @functools.cached_property
    def appearance(self) -> Appearance:
        """Of the person, with the kind's hair; with a map of dark skin, hair and eyes are dark."""
        drawn = dataclasses.replace(skin_appearance.draw(self.seed), **skin_appearance.HAIR_DENSITIES.get(self.kind.hair, {}))
        return skin_maps.matching(drawn, self._map()) if self.kind.skin == "photographic" else drawn

    @functools.cached_property
    def columns(self) -> Float[np.ndarray, "V k"]:
        """What `colours` needs to know of a place beside where it lies, per vertex.

        Raises:
            FitkitError: E_DATA without the maps that this kind of skin needs; E_EMPTYDIR, E_NOTIMAGE.
        """
        if self.kind.skin != "photographic":
            return np.zeros((len(self.population.mean), 0))
        return skin_maps.columns(self._map(), self.population)

    def colours(
        self, places: Float[np.ndarray, "n 3"], columns: Float[np.ndarray, "n k"], *, hair: bool
    ) -> Float[np.ndarray, "n 3"]:
        """Colours of places of the mean head, with or without lips, brows, lashes and hair where they are painted."""
        appearance, marks = self.appearance, self.population.marks(self.population.mean)
        if self.kind.skin == "plain":
            return np.tile(skin_appearance.plain_tone(appearance), (len(places), 1))
        if self.kind.skin == "photographic":
            bare = skin_maps.colours(self._map(), columns)
            return skin_appearance.haired(bare, places, marks, appearance) if hair else bare
        return (skin_appearance.skin if hair else skin_appearance.skin_tone)(places, marks, appearance)

    def relief(self, on_embedded: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
        """Wrinkles of the person, mm outwards, at places of `Population.on_embedded`."""
        if self.level:
            return np.zeros(len(on_embedded))
        generator, surface = np.random.default_rng((self.seed, 9)), texel_surface(size=RELIEF_TEXELS)
        drawn = grooves.draw_grooves(generator, surface.ground, age=generator.uniform(*AGE))
        return grooves.heights(on_embedded[:, :3], surface, drawn) * on_embedded[:, 3]

    def scanned(self) -> Float[np.ndarray, "n 3"]:
        """Colours of bare skin at what a scanner sees."""
        rows = self.population.face[self.population.scanned]
        return self.colours(self.population.mean[rows], self.columns[rows], hair=False)

    def _map(self) -> Float[np.ndarray, "1440 768 3"]:
        if self.skins is None:
            raise FitkitError("E_DATA", "kind photographic needs MakeHuman's skin maps; name their folder with --skins PATH")
        return skin_maps.read_map(skin_maps.chosen_map(self.skins, self.seed))


def scene_parts(paint: SkinPaint, person: Person, view: View, studio: Studio, generator: np.random.Generator) -> dict[str, Part]:
    """The meshes of a picture by name: the person's, a shirt, and what is before the face."""
    rotation, translation = np.asarray(view.camera.rotation, np.float64), np.asarray(view.camera.translation, np.float64)

    def seen(vertices: np.ndarray) -> np.ndarray:
        return (vertices @ rotation.T + translation) * [1, -1, -1]

    population = paint.population
    known = np.concatenate([population.mean, seen(person.vertices), population.on_embedded, paint.columns], axis=1)
    meshes = {mesh.name: mesh for mesh in population.parts}
    parts = {name: _part(mesh, known, paint, studio) for name, mesh in meshes.items() if mesh.paint != "eye"}
    parts["shirt"] = shirt(rotation, translation + rotation @ [0.0, population.shirt_rise, 0.0], generator)
    parts |= {name: _part(mesh, known, paint, studio) for name, mesh in meshes.items() if mesh.paint == "eye"}
    hand = np.median(paint.scanned(), axis=0) if paint.kind.occluder == "hand" else np.zeros(3)
    before = occluders.shapes(paint.kind.occluder, population.marks(person.vertices), hand, person.seed)
    return parts | {f"{OCCLUDER_PART}{number}": (seen(vertices), triangles, np.tile(colour, (len(vertices), 1)), coat)
                    for number, (vertices, triangles, colour, coat) in enumerate(before)}


def _part(mesh: PartMesh, known: Float[np.ndarray, "V 10+k"], paint: SkinPaint, studio: Studio) -> Part:
    """One mesh of the person; `known`: places on the mean head, in the view frame and on the embedded head, the paint's columns."""
    rows, faces = known[mesh.rows], mesh.triangles
    wrinkled = mesh.paint == "skin" and paint.kind.relief != "smooth"
    for _ in range({"skin": studio.subdivisions, "eye": EYE_SUBDIVISIONS}.get(mesh.paint, 0) + wrinkled):
        rows, faces = _rounded(rows, faces) if wrinkled else trimesh.remesh.subdivide(rows, faces)
    places, vertices, appearance = rows[:, :3], rows[:, 3:6], paint.appearance
    if mesh.paint == "skin":
        if wrinkled:
            normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
            vertices = vertices + normals * paint.relief(rows[:, 6:10])[:, None]
        return vertices, faces, paint.colours(places, rows[:, 10:], hair=True), {"roughness": appearance.gloss} | SKIN_COAT
    if mesh.paint == "eye":
        return vertices, faces, skin_appearance.eyeball(places, appearance), EYE_COAT
    return vertices, faces, np.tile(INNER_COLOURS[mesh.paint], (len(rows), 1)), WET_COAT


def _rounded(rows: Float[np.ndarray, "n 10+k"], triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`trimesh.remesh.subdivide`, but smooth in space: facets of a mesh would be seen, and measured, as relief."""
    edges, sides = subdivision.edge_table(triangles)
    finer = subdivision.midpoint_operator(edges, len(rows)) @ rows
    finer[:, 3:6] = subdivision.butterfly_operator(triangles, edges, sides, len(rows)) @ rows[:, 3:6]
    return finer, subdivision.split_triangles(triangles, sides, len(rows))


def shirt(rotation: np.ndarray, translation: np.ndarray, generator: np.random.Generator) -> Part:
    """An ellipsoid for shoulders that turns with the head and hides where the neck ends."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    middle, radii = np.array(SHIRT_ELLIPSOID)
    places = (ball.vertices * radii + middle) @ rotation.T + translation
    colour = generator.uniform(*SHIRT_LEVEL) * environment_light.tint(generator, SHIRT_TINT)
    return places * [1, -1, -1], ball.faces, np.tile(colour, (len(places), 1)), CLOTH_COAT
