"""Complete agents on the public surface of laser_tools."""
