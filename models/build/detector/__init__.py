"""What the detector's points tell of a face: `pictures` renders people and detects points, `regression` learns from them."""
