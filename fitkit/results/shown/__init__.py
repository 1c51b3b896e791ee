"""What people are shown: `summary` for `repr` and notebooks, `view` for the viewer, `live_page` while it is fitted."""
