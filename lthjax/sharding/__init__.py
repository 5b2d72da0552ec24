"""Tables on several devices: which array is cut along which axis, which row stands where, and who draws what.

`layout` is the one place that says how arrays lie, `stripes` where a row stands; `draws` gives each device the random
numbers of its own rows; `exchange` names the ways in which rows come to other devices; `table` is a table that nobody
need have whole, and `saved` keeps it on disk.
May import: errors, embeddings, runtime.
"""
