"""Identity networks: who a face is, as a unit vector; and the importers of foreign ones."""
