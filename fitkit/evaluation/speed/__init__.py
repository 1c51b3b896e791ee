"""How fast fitkit is: scenes to measure on, and the stopwatch. For `fitkit bench`."""
