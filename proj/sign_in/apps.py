"""The login page's templates and styles, and the admin with that page."""

from django.apps import AppConfig

from jobledger.apps import JobsAdminConfig


class SignInConfig(AppConfig):
    """Has no models of its own."""

    default = True
    name = "proj.sign_in"
    label = "sign_in"


class SignInAdminConfig(JobsAdminConfig):
    """Django's admin, opened by the sign-in page of this project."""

    default_site = "proj.sign_in.site.SignInSite"
