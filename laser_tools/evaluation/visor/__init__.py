"""What vision costs and what it is worth: layers probed, configurations and pruning compared.

`probe` says which layers of any model may leave visual tokens as they are; `bench` sets accuracy
against FLOPs and seconds; `training` makes a VISOR model of a user's own. May import the other
rooms of `evaluation` and what these may.
"""
