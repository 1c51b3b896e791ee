"""What `test_speed.py` measured in this run, for the summary in `conftest.py`."""

MEASURED: dict[tuple[str, str], float] = {}      # (scene, "fitkit" or "deodr") -> median in ms
