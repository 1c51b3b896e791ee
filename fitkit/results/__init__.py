"""The result of a fit: what it holds, its pictures, its folder on disk."""
