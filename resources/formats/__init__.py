"""Formats of files: one module a format, each from the bytes of a file to its rows.

Belongs here: what a row of a format is, and the faults that cost one row and nothing else.
Does not belong here: the tables made of the rows (`readers`), opening and unpacking (`streams`).
"""
