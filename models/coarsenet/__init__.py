"""CoarseNet (Guo et al. 2018): a network that sees identity, expression and pose of a face in a picture, alone and in a film."""
