"""Signing in to the admin: the login page, a second factor for passwords, and single sign-on.

The second factor and single sign-on are disabled by default. Their libraries are only imported, and their
tables only created, if the environment enables them.
"""

SINGLE_SIGN_ON_BACKEND = "proj.sign_in.single_sign_on.SingleSignOnBackend"
"""What Django's sessions name that were opened by single sign-on."""
