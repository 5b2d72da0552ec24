"""A ticket, its results, its way to disk and back; the run folder; runs of several seeds; the printed table.

May import: training and all that it may import, presets, data.
"""
