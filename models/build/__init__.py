"""Builders: from a named wheel (sha256 checked) to the weight files in `models/weights`. Run by maintainers, never by users."""
