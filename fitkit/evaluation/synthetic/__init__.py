"""The synthetic benchmark: subjects with known shape, photographed by a foreign renderer, fitted and measured."""
