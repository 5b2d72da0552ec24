"""Tables on several devices: which array is cut along which axis, which row stands where, and who draws what.

`layout` is the one place that says how arrays lie; `draws` gives each device the random numbers of its own rows;
`exchange` names the ways in which rows come to other devices.
May import: errors, embeddings.
"""
