"""MicroScenes: a drawn world in which what LASER and its peers claim can be true or false."""
