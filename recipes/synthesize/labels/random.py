"""Labels of kind `random` (Richardson et al. 2017, Section 3.2.2): random heads in random poses, skins and lights. No photo needed.

Everything of picture `number` follows from the seed of the run and that number: any shard can be made alone, and again.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.labels.drawing import Scene, Things, draw_scenes
from fitkit.labels.fine_head import fine_head
from fitkit.labels.hidden_modes import folded_model, size_and_place
from fitkit.labels.record import Record, record_of
from fitkit.labels.shards import Make
from fitkit.models import heads
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.recipes.synthesize import occluders
from fitkit.recipes.synthesize.faces import draw_expression
from fitkit.recipes.synthesize.labels import scenery, skins
from fitkit.types import Camera, MorphableModel

# Chosen, not tuned
AT_ONCE = 20                    # pictures of one call of the compiled program
GROUP = 100                     # pictures that share a pool of skins
SPREAD = (0.4, 1.0)             # of a person's identity about the mean, in standard deviations of the prior; uniform
SMOOTH, CARVED = 60, 0.5        # modes that are drawn in full, and share of the others, which carve the skin
NEUTRAL = 0.12                  # share of faces without expression
LINEAR, LINEAR_SPREAD = 0.25, 0.7       # share of skins of the linear albedo model, the others are of the pool; their deviation
OCCLUDERS = {"none": 0.8, "spectacles": 0.08, "hand": 0.04, "strands": 0.05, "scarf": 0.03}
ROUNDS = 2                      # subdivisions of a fingertip
MOST_VERTICES, MOST_TRIANGLES = 3000, 5400      # of what stands before a face: padded to these


View = Callable[..., tuple[Camera, dict[str, Array]]]
Expression = Callable[[Array, MorphableModel], Float[Array, " E"]]


def plain_view(key: Array, points: Float[Array, "468 3"], *, size: int) -> tuple[Camera, dict[str, Array]]:
    """A camera, and no further labels."""
    return scenery.draw_camera(key, points, size=size), {}


def plain_expression(key: Array, model: MorphableModel) -> Float[Array, " E"]:
    """A few of ARKit's shapes, or none."""
    rest, drawn = jax.random.split(key)
    return jnp.where(jax.random.uniform(rest) < NEUTRAL, 0.0, draw_expression(drawn, model))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """What a run of random labels is made of.

    Attributes:
        head: morphable head, as `fitkit.load_head` names it.
        size: side of the pictures, pixels.
        seed: of everything drawn.
        skins: folder of MakeHuman's skins, for painted textures; None for generated and linear ones alone.
    """

    head: str = "makehuman"
    size: int = 224
    seed: int = 0
    skins: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class RandomLabels:
    """Makes random labels: `records(numbers)`.

    Attributes:
        config: of the run.
        kind: name of the kind.
        view: draws the camera from a key and the 468 points of the face, and with it further labels of the record.
        expression: draws ARKit weights from a key and the head.
    """

    config: RandomConfig
    kind: str = "random"
    view: View = plain_view
    expression: Expression = plain_expression

    @functools.cached_property
    def unfolded(self) -> MorphableModel:
        """The head as it is."""
        return heads.load(heads.absolute_name(self.config.head))

    @functools.cached_property
    def model(self) -> MorphableModel:
        """The folded head, of which the labels are."""
        return folded_model(self.unfolded)

    @functools.cached_property
    def shirt(self) -> Things:
        """The mesh below the neck."""
        return scenery.shirt_mesh(self.unfolded)

    def pool(self, group: int) -> skins.Pool:
        """The skins of a group of pictures."""
        return _pool(self, group)

    def records(self, numbers: Sequence[int]) -> list[Record]:
        """The records of these pictures, in order.

        Raises:
            FitkitError: as `heads.load` and `skins.make_pool`.
        """
        made: list[Record] = []
        for _, of_group in itertools.groupby(numbers, key=lambda number: self.person(number) // GROUP):
            whole = list(of_group)
            for some in (whole[start:start + AT_ONCE] for start in range(0, len(whole), AT_ONCE)):
                padded = [*some, *[some[-1]] * (AT_ONCE - len(some))]      # one compiled program for any count
                made += self._draw(padded)[:len(some)]
        return made

    def _draw(self, numbers: list[int]) -> list[Record]:
        persons, seed = [self.person(number) for number in numbers], self.config.seed
        pool, size = self.pool(persons[0] // GROUP), self.config.size
        scenes, people = _scenes(jnp.array(persons), jnp.array(numbers), seed, self.unfolded, self.model, pool, size=size,
                                 view=self.view, draw=self.expression)
        names = [_occluder(seed, person) for person in persons]
        marks, skin = np.asarray(people.pop("marks")), np.asarray(people.pop("skin"))
        things = [_before(name, marks[row], skin[row], (seed * 1_000_003 + persons[row]) % 2**31)
                  for row, name in enumerate(names)]
        scenes = dataclasses.replace(scenes, before=jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *things),
                                     has_before=jnp.array([name != "none" for name in names]))
        drawn = draw_scenes(self.model, fine_head(self.model), self.shirt, scenes, size=size)
        parts = (drawn, scenes.camera, scenes.light, {"identity": scenes.identity, "expression": scenes.expression, **people})
        picture, camera, light, labels = jax.tree.map(np.asarray, parts)
        made = []
        for row, (number, name) in enumerate(zip(numbers, names, strict=True)):
            one = jax.tree.map(lambda leaf, row=row: leaf[row], (picture, camera, light, labels))
            source = {"number": number, "seed": seed, "kind": self.kind, "head": self.config.head, "before": name}
            made.append(record_of(one[0], camera=one[1], light=one[2], source=source, **one[3]))
        return self.completed(made)

    def person(self, number: int) -> int:
        """Whom a picture shows: persons, their views and backgrounds are numbered, too. The light follows from `number` itself."""
        return number

    def completed(self, records: list[Record]) -> list[Record]:
        """The records with what a kind adds to them once they are drawn."""
        return records


@functools.lru_cache(maxsize=3)
def _pool(labels: RandomLabels, group: int) -> skins.Pool:
    return skins.make_pool(jax.random.key(labels.config.seed), labels.unfolded, labels.config.skins, group=group)


@functools.partial(jax.jit, static_argnames=("size", "view", "draw"))
def _scenes(persons: Array, numbers: Array, seed: Array, unfolded: MorphableModel, model: MorphableModel, pool: skins.Pool, *,
            size: int, view: View, draw: Expression) -> tuple[Scene, dict[str, Array]]:
    """Scenes of persons in the lights of numbers, without what stands before the faces, and what of the people is not in them."""
    def scene(person: Array, number: Array) -> tuple[Scene, dict[str, Array]]:
        key, for_lights = (jax.random.fold_in(jax.random.key(seed), each) for each in (person, number))
        for_identity, for_face, for_camera, _, for_skin, for_backdrop, for_shirt = jax.random.split(key, 7)
        for_light = jax.random.split(for_lights, 7)[3]
        drawn = draw_identity(for_identity, unfolded)
        head_size, place = size_and_place(unfolded, drawn)
        identity = drawn / head_size
        expression = draw(for_face, model)
        vertices = shape(model, identity, expression)
        points = values_at_points(model.dense, model.triangles, vertices)
        colors, texture, textured, albedo = _skin(for_skin, unfolded, pool)
        camera, further = view(for_camera, points, size=size)
        made = Scene(
            identity=identity, expression=expression, camera=camera,
            light=scenery.draw_lights(for_light), colors=colors, texture=texture, textured=textured,
            shirt=scenery.draw_shirt(for_shirt), backdrop=scenery.draw_backdrop(for_backdrop, size=size),
            before=nothing_before(), has_before=jnp.array(False))
        marks = values_at_points(model.landmarks, model.triangles, vertices)
        skin = jnp.median(values_at_points(model.dense, model.triangles, colors), axis=0)
        return made, {"albedo": albedo, "head_size": head_size, "head_place": place, "marks": marks, "skin": skin, **further}

    return jax.lax.map(lambda both: scene(*both), (persons, numbers))


def draw_identity(key: Array, model: MorphableModel) -> Float[Array, " I"]:
    """A person: normal about the prior's mean, some nearer to it than others."""
    for_spread, for_person = jax.random.split(key)
    spread = jax.random.uniform(for_spread, minval=SPREAD[0], maxval=SPREAD[1])
    share = jnp.where(jnp.arange(len(model.identity)) < SMOOTH, 1.0, CARVED)
    return model.identity_mean + spread * share * jax.random.normal(for_person, (len(model.identity),))


def _skin(key: Array, model: MorphableModel, pool: skins.Pool) -> tuple[Array, Array, Array, Array]:
    """Colours at vertices, texture, whether it is taken, and coefficients of the linear model."""
    for_kind, for_map, for_modes = jax.random.split(key, 3)
    linear = jax.random.uniform(for_kind) < LINEAR
    chosen = jax.random.randint(for_map, (), 0, len(pool.textures))
    modes = LINEAR_SPREAD * jax.random.normal(for_modes, (len(model.albedo),))
    colors = jnp.where(linear, jnp.clip(vertex_albedo(model, modes), 0.0, 1.0), pool.colors[chosen])
    # a head of another layout has its pool's maps at its vertices
    textured = ~linear & (pool.textures.shape[1] > 1)
    return colors, pool.textures[chosen], textured, jnp.where(linear, modes, pool.coefficients[chosen])


def _occluder(seed: int, number: int) -> str:
    generator = np.random.default_rng((seed, number))
    return str(generator.choice(list(OCCLUDERS), p=list(OCCLUDERS.values())))


def nothing_before() -> Any:
    """Arrays for what stands before a face, all padding."""
    vertices: Any = np.zeros((MOST_VERTICES, 3), np.float32)
    triangles: Any = np.zeros((MOST_TRIANGLES, 3), np.int32)
    return Things(vertices=vertices, triangles=triangles, colors=vertices.copy())


def _before(name: str, marks: Float[np.ndarray, "68 3"], skin: Float[np.ndarray, " 3"], seed: int) -> Any:
    """What stands before one face, as `Things` of NumPy arrays."""
    things, corner, face = nothing_before(), 0, 0
    for places, faces, color, _ in occluders.shapes(name, marks.astype(np.float64), skin, seed, rounds=ROUNDS):
        things.vertices[corner:corner + len(places)], things.triangles[face:face + len(faces)] = places, faces + corner
        things.colors[corner:corner + len(places)] = color
        corner, face = corner + len(places), face + len(faces)
    return things


def maker(config: RandomConfig) -> Make:
    """The function that makes records of a run by their numbers."""
    return RandomLabels(config).records
