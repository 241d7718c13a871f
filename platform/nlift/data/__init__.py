"""Rows and where they are: files, corpora, a database on disk, the caches of what models gave."""
