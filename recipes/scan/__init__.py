"""Recipe `scan`: a head fitted to a scan or a depth image; `registration` is also what the benchmarks' floor is measured with."""

from fitkit.recipes.scan.recipe import ScanConfig, solve, solve_batch, solve_person

__all__ = ["ScanConfig", "solve", "solve_batch", "solve_person"]
