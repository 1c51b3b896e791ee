"""Labelled pictures: records, the tar shards they lie in, their reading, and the drawing of pictures with all labels."""
