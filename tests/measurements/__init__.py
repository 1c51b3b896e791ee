"""Scripts that print the figures README cites: `README.md` here has a row for each, with its command and figures."""
