"""Speed of fitkit for `fitkit bench`: `scenes` makes the heads and pictures, `timing` runs and times the work on them."""
