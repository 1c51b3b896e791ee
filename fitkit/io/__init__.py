"""The only readers and writers of files: images, scans, and writes that are whole or absent."""
