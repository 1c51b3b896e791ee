"""Where landmark detectors' points lie on the embedded head, and how far each is to be trusted."""
