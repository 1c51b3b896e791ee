"""Builds the registration of the embedded head to ICT-FaceKit's."""
