"""Points of faces in photos: detectors, files of points, and the crop that a network sees."""
