"""Training of the networks in `models/`, one file for each: data, losses, schedule."""
