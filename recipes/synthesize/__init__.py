"""Synthetic training data. `textures/`: albedo maps of random people in the embedded head's UV; `relief/`: their wrinkles."""
