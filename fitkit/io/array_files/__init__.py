"""Arrays out of the files of other programs: pickles that are not run, `.npz` and `.mat`, HDF5 in a process of its own."""
