"""Many photos at once: what the user named, in order and lazily (sources, manifest); what a run tells of itself (table, report)."""

LOG, TABLE, PAGE = "log.jsonl", "results.parquet", "report.html"      # a run's report, in its folder; this module imports nothing
LABELLED_FITS = "fits"      # folder of a run of labels: a run of its own, the fits of its photos
