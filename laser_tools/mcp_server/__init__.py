"""The tools as an MCP server, over stdio or HTTP.

A session holds the images that its client has added and asks an `Engine` about them, in this
process or at a worker. Most files need the package `mcp`, the extra of that name.
May import `tools`, `engine.base`, `images` and the hall.
"""
