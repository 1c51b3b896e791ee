"""`python -m fitkit.models.build.makehuman WHEEL [--out FILE]`: the command line of `head.py`."""

from fitkit.models.build.makehuman.head import main

main()
