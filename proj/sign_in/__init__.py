"""Signing in to the admin: the login page, a second factor for passwords, and single sign-on.

The second factor and single sign-on are off unless the environment switches them on. Their libraries are
imported, and their tables made, only then.
"""
