"""Fields of stage 2 of recipe `inverse_rendering`, the geometry refinement of Guo et al. 2018, Section V-B."""

import dataclasses

# mm: a definition, the pixel of a face that fills a crop of 512. The weights of Eq. 9 hold at this size and change with it as
# lengths do
PIXEL = 0.42


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeometryRefinementConfig:
    """Fields of stage 2. Defaults by `python -m tests.measurements.wrinkles`: with the paper's, wrinkles stay too shallow.

    Attributes:
        weight_displacement: weight of the squared displacement, pixels of 0.42 mm (Guo 2018, `mu_1`: 1e-3).
        weight_laplacian: weight of the displacement's absolute Laplacian, the same (Guo 2018, `mu_2`: 0.3).
        refinement_scale: colour difference, relative to the face's own colour, at which a pixel counts for a quarter.
        refinement_reach: millimetres over which differences are smooth and not a matter of wrinkles.
        refinement_noise: median colour difference above which a photo counts less: grain, or a face far from the model's.
        refinement_steps: reweighted steps.
        refinement_products: most products of the conjugate gradients in a step.
        refinement_softening: pixels by which the absolute Laplacian is rounded off at 0, at the first step and at the last.
        refinement_facing: cosines of normal and line of sight between which a pixel's weight rises from 0 to 1.
        refinement_outline_fade: millimetres over which skin's weight rises beside brows, eyes, lips, nostrils and the nose's ridge.
        refinement_crop_fade: millimetres over which it rises from the crop's border.
        refinement_gain: bounds of the smooth gain from rendered to photographed colours.
        refinement_move_reach: millimetres of the Gaussian over which features are moved alike to where the photo has them.
        refinement_move_ridge: colour gradient per millimetre, relative to the face's own colour, under which they are hardly moved.
        refinement_skin_reach: reach of the gain by which skin is told from what is none, millimetres: with a shorter one the rims
            of glasses pass for skin.
        refinement_skin_neighbourhood: millimetres of the Gaussian over which a pixel's disagreement is averaged.
        refinement_skin_lines: weight of the variance of differences in a neighbourhood, against the square of their mean: the
            slopes of deep folds cancel, those of hair, a rim or a shadow do not.
        refinement_skin_level: deviation of the smooth gain from its mean, as a logarithm, at which a pixel counts for a quarter.
        refinement_skin_hue: the same of the gain's hue alone, which shading hardly changes: a fringe may be as bright as skin, but
            not as red.
        refinement_border: millimetres of the Gaussian over which the share of skin around a pixel is taken.
        refinement_border_share: shares between which its weight rises from 0 to 1.
        refinement_fold_finest: millimetres of the Gaussian under which slopes are taken to tell lines from lumps.
        refinement_fold_reach: millimetres of the Gaussian over which their directions are compared.
        refinement_line_length: millimetres of the Gaussian along a line, by which grain is averaged out.
        refinement_line_grain: rms of shading, relative to the skin's own, that the average takes away where grain counts by half.
        refinement_line_coherence: of a photo's slopes, between which what differs from the rendering comes to be kept: grain
            without a direction has about 0.2.
        refinement_fold_slope: rms slope at which a line is kept by half.
        refinement_fold_level: share of squared slopes up and down the head between which a line on the forehead comes to be kept.
    """

    weight_displacement: float = 1e-4
    weight_laplacian: float = 0.0025
    refinement_scale: float = 0.2
    refinement_reach: float = 5.0
    refinement_noise: float = 0.04
    refinement_steps: int = 6
    refinement_products: int = 45
    refinement_softening: tuple[float, float] = (0.3, 0.02)
    refinement_facing: tuple[float, float] = (0.2, 0.45)
    refinement_outline_fade: float = 4.0
    refinement_crop_fade: float = 8.0
    refinement_gain: tuple[float, float] = (0.3, 3.0)
    refinement_move_reach: float = 5.0
    refinement_move_ridge: float = 0.03
    refinement_skin_reach: float = 8.0
    refinement_skin_neighbourhood: float = 2.5
    refinement_skin_lines: float = 0.25
    refinement_skin_level: float = 0.4
    refinement_skin_hue: float = 0.07
    refinement_border: float = 4.0
    refinement_border_share: tuple[float, float] = (0.5, 0.85)
    refinement_fold_finest: float = 0.5
    refinement_fold_reach: float = 5.0
    refinement_line_length: float = 3.0
    refinement_line_grain: float = 0.01
    refinement_line_coherence: tuple[float, float] = (0.3, 0.6)
    refinement_fold_slope: float = 0.04
    refinement_fold_level: tuple[float, float] = (0.5, 0.75)
