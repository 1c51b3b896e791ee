"""Many photos at once: what the user named, in order and lazily (sources, manifest); what a run tells of itself (table, report)."""
