"""The commands `fitkit eval ...`: one module each."""
