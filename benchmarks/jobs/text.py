"""What the jobs write that are compared."""

LINE = "a line of ordinary length, as jobs write them, number "
