"""The app with the login page's templates and styles, and the admin that uses them."""

from django.apps import AppConfig

from jobledger.apps import JobsAdminConfig


class SignInConfig(AppConfig):
    """An app without models."""

    default = True
    name = "proj.sign_in"
    label = "sign_in"


class SignInAdminConfig(JobsAdminConfig):
    """Django's admin with this project's login page."""

    default_site = "proj.sign_in.site.SignInSite"
