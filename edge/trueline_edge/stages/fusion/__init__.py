"""How values of one quantity become one: the ways behind the stage `fuse`. Knows cells and filters, no Readings."""
