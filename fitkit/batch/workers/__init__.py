"""The workers that fit the photos of a run, apart from its leader: `serve`, `program` run there; `process`, `station` here."""
