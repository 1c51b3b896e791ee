"""The kinds of labels: what each is, after which paper, and what it takes. Without JAX; `recipes.synthesize.labels` makes them."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of labels."""

    summary: str
    paper: str
    takes: tuple[str, ...] = ()            # of skins, motion, fits (results of `fitkit fit`), photos, which are fitted first


KINDS: dict[str, Kind] = {
    "random": Kind(summary="random heads, poses, skins, lights and backgrounds", takes=("skins",),
                   paper="Richardson et al. 2017, Section 3.2.2"),
    "expressions": Kind(summary="random heads that show emotions", takes=("skins",), paper="Chen et al. 2019, Section 3.2"),
    "frames": Kind(summary="random heads, and their pose in the frame before", takes=("skins", "motion"),
                   paper="Guo et al. 2018, Section VII"),
    "detail": Kind(summary="wrinkles on random heads, each under several lights", takes=("skins", "fits"),
                   paper="Guo et al. 2018, Section VIII-A"),
    "vary": Kind(summary="people of photos with other expressions, in other poses", takes=("photos",),
                 paper="Guo et al. 2018, Section VI-A"),
}
