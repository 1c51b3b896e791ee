"""Synthetic albedo maps of people in the embedded head's UV."""
