"""Texture coordinates and skin colours of the embedded head."""
