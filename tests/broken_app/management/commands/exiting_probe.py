"""A command whose module ends the process that imports it."""

import sys

sys.exit("Not today.")
