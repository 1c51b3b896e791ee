"""Recipe `expression_proxy`: shape from points, expression from what networks see (Chen et al. 2019, Section 3).

    prior        the expression's prior from a dictionary of rendered expressions (Eq. 5)
    affine_fit   Eq. 4: affine camera and shape by linear least squares in turn
    recipe       both, and a rigid camera at the end
    paper.toml   the paper's own values, for `fitkit fit --config paper:expression_proxy`
"""

from fitkit.recipes.expression_proxy.recipe import ExpressionProxyConfig, solve, solve_batch, solve_person

__all__ = ["ExpressionProxyConfig", "solve", "solve_batch", "solve_person"]
