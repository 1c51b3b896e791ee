"""Maps on the head in UV: unwrapping photos, completing albedo, hair on the scalp, displacement."""
