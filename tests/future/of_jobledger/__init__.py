"""The migrations of its app ``jobledger``."""
