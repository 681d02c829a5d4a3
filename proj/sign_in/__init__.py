"""Signing in to the admin: the login page, a second factor for passwords, and single sign-on.

The second factor and single sign-on are off unless the environment switches them on. Their libraries are
imported, and their tables made, only then.
"""

SINGLE_SIGN_ON_BACKEND = "proj.sign_in.single_sign_on.SingleSignOnBackend"
"""What Django's sessions name that were opened by single sign-on."""
