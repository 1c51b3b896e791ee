"""The commands `fitkit labels ...`: runs of labelled pictures, their contact sheets, and the motion of films."""
