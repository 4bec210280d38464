"""Transforms: what becomes of records between a reader and a writer. Pure."""
