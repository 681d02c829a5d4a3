"""Settings: everything from the environment or ``.env``, with defaults for one command on a bare machine.

Each variable is described in ``.env.example``. A variable ``NAME`` may also be given as
``NAME_FILE``, the path of a file that holds its value.
"""

from datetime import timedelta

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from jobledger import Schedule
from proj.environment import Environment
from proj.sign_in import SINGLE_SIGN_ON_BACKEND
from proj.state import BASE_DIR, STATE_DIR, redis_socket

env = Environment()
env.read_env(BASE_DIR / ".env")


def secret_key() -> str:
    """The key from the environment, else the one that ``make up`` generated."""
    generated = STATE_DIR / "secret_key"
    if value := env.text("SECRET_KEY"):
        return value
    if generated.exists():
        return generated.read_text().strip()
    raise ImproperlyConfigured(
        "SECRET_KEY is not set: run `make venv` once, which generates one, "
        "or set SECRET_KEY or SECRET_KEY_FILE."
    )


# --- Django: https://docs.djangoproject.com/en/5.2/ref/settings/

SECRET_KEY = secret_key()
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.texts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.texts("CSRF_TRUSTED_ORIGINS", [])

ROOT_URLCONF = "proj.urls"
WSGI_APPLICATION = "proj.wsgi.application"

INSTALLED_APPS = [
    # Before Django's admin: some of its templates are taken over.
    "jobledger",
    "proj.sign_in",
    "proj.sign_in.apps.SignInAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_htmx",
    "axes",
    "csp",
    "tasks_app",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    # Last: it answers for a login that is locked.
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]

# The login is guarded: https://django-axes.readthedocs.io/en/latest/4_configuration.html
# Counted by name and address together: whoever guesses at a name does not lock its owner out elsewhere. The
# wider limits, for an address and for a name, are the handler's.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = env.whole("LOGIN_FAILURE_LIMIT", 5)
AXES_HANDLER = "proj.sign_in.limits.LoginLimits"
LOGIN_ADDRESS_LIMIT = env.whole("LOGIN_ADDRESS_LIMIT", 20)
LOGIN_NAME_LIMIT = env.whole("LOGIN_NAME_LIMIT", 100)
# Whose X-Forwarded-For is believed; empty: nobody's.
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
AXES_CLIENT_IP_CALLABLE = "proj.sign_in.client_address.client_address"
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "jobledger/locked_out.html"
AXES_DISABLE_ACCESS_LOG = True

# Nothing is loaded from elsewhere, and nothing that is written into a page is executed.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    },
}

# Somebody who leaves the browser open over night signs in again.
SESSION_COOKIE_AGE = 12 * 60 * 60
# Cookies travel over HTTPS only where the service stands behind it; `make up` serves HTTP on the loopback.
BEHIND_HTTPS = env.flag("BEHIND_HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_HTTPS
if BEHIND_HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 30 * 24 * 60 * 60
    # Whoever terminates HTTPS redirects plain HTTP too (W008). Whether the domain's other hosts are to be
    # reached by HTTPS alone (W005, W021) is not for this service to decide.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]

# --- Signing in: docs/how-to/sign-in-with-totp-or-single-sign-on.md

# A code from the user's phone besides the password: https://django-otp-official.readthedocs.io/
TOTP_REQUIRED = env.flag("TOTP_REQUIRED", default=False)
if TOTP_REQUIRED:
    INSTALLED_APPS += ["django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static"]
    _after = MIDDLEWARE.index("django.contrib.auth.middleware.AuthenticationMiddleware") + 1
    MIDDLEWARE.insert(_after, "django_otp.middleware.OTPMiddleware")
    # The name under which a phone lists the codes.
    OTP_TOTP_ISSUER = "Scheduled jobs"
    # Whoever sees a user's device in the admin could else copy its key.
    OTP_ADMIN_HIDE_SENSITIVE_DATA = True
    AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code"]

# OpenID Connect: https://docs.allauth.org/en/latest/socialaccount/providers/openid_connect.html
OIDC_ISSUER = env.issuer("OIDC_ISSUER")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_GROUPS = env.pairs("OIDC_GROUPS")
OIDC_GROUPS_CLAIM = env.text("OIDC_GROUPS_CLAIM", "groups")
PASSWORD_LOGIN = env.flag("PASSWORD_LOGIN", default=True)
if not PASSWORD_LOGIN and not OIDC_ISSUER:
    raise ImproperlyConfigured(
        "PASSWORD_LOGIN is false; wanted: an OIDC_ISSUER, for there is no other login."
    )
if OIDC_ISSUER:
    _client = {
        "provider_id": "oidc",
        "name": OIDC_NAME,
        "client_id": env.text("OIDC_CLIENT_ID"),
        "secret": env.text("OIDC_CLIENT_SECRET"),
        "settings": {
            "server_url": OIDC_ISSUER,
            "oauth_pkce_enabled": True,
            "scope": env.texts("OIDC_SCOPES", ["openid", "profile", "email"]),
        },
    }
    if not (_client["client_id"] and OIDC_GROUPS):
        raise ImproperlyConfigured(
            "OIDC_ISSUER is set; wanted too: OIDC_CLIENT_ID, and OIDC_GROUPS such as ops=Job operators."
        )
    INSTALLED_APPS += [
        "allauth",
        "allauth.account",
        "allauth.socialaccount",
        "allauth.socialaccount.providers.openid_connect",
    ]
    MIDDLEWARE.insert(-1, "allauth.account.middleware.AccountMiddleware")
    AUTHENTICATION_BACKENDS.append(SINGLE_SIGN_ON_BACKEND)
    ACCOUNT_ADAPTER = "proj.sign_in.single_sign_on.AccountAdapter"
    SOCIALACCOUNT_ADAPTER = "proj.sign_in.single_sign_on.ProviderAdapter"
    SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [_client]}}
    # An account belongs to the provider's subject: two may have one email address, which proves nothing here.
    SOCIALACCOUNT_ONLY = True
    ACCOUNT_UNIQUE_EMAIL = False
    ACCOUNT_EMAIL_VERIFICATION = "none"

# --- Database

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": env.database("DATABASE_URL", f"sqlite:///{STATE_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes write: a write-ahead log lets readers go on, and an immediate transaction
    # waits its turn instead of failing with "database is locked" when a read turns into a write.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    # A new connection for every tick of beat would cost more than its work (docs/decisions/).
    DATABASES["default"]["CONN_MAX_AGE"] = env.whole("CONN_MAX_AGE", 600, least=0)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

# --- Language and time

LANGUAGE_CODE = "en-us"
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.zone("TIME_ZONE", "UTC")

# --- Static files

STATIC_URL = "static/"
# The image collects its files; elsewhere they are served from the apps' own folders.
STATIC_ROOT = env.text("STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

# --- Logging

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "class": "jobledger.escapes.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # Celery's workers and beat put their own handler in place of this one.
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "jobledger": {"level": env.log_level("LOG_LEVEL", "INFO")},
        "tasks_app": {"level": env.log_level("LOG_LEVEL", "INFO")},
        "axes": {"level": "WARNING"},
    },
}

# --- Celery: https://docs.celeryq.dev/en/stable/userguide/configuration.html

CELERY_BROKER_URL = env.broker("REDIS_URL", f"redis+socket://{redis_socket()}")
CELERY_RESULT_BACKEND = env.text("RESULT_BACKEND_URL") or CELERY_BROKER_URL
CELERY_RESULT_EXPIRES = 24 * 60 * 60
CELERY_TASK_TRACK_STARTED = True
CELERY_TIMEZONE = TIME_ZONE
CELERY_ENABLE_UTC = True
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"

# A message is only a wake-up: acknowledged late it comes back when its worker dies, and the run's
# claim drops every copy that is one too many. Rejecting on a lost worker would loop for ever.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_CONCURRENCY = env.whole("WORKER_CONCURRENCY", 4)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_CONSUMER = "jobledger.runs.worker.consumer:Consumer"

# A Redis that hangs must not hang whoever publishes. `retry_on_timeout` would replay a push that arrived.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": env.whole("VISIBILITY_TIMEOUT", 3600),
    # Look for messages whose time is over at every chance, ten seconds apart, and not at every tenth.
    "unacked_restore_throttle": 1,
    # A worker that is killed meanwhile does not keep the others from it for long.
    "unacked_mutex_expire": 30,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "client_name": "scheduled-jobs",
    # Also the connecting gives up soon: what was not published is published again.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"retry_policy": {"timeout": 5.0}}
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 2,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}

CELERY_BEAT_SCHEDULER = "jobledger.schedules.scheduler:Scheduler"

# --- Jobs

# Plain commands that may be scheduled and called like a job. Nothing else is reachable from a message.
EXPOSED_COMMANDS = {"clearsessions": {"schedules": [Schedule("30 4 * * 0")]}}
# How much of an attempt's output is kept: the first half from its head, the second from its tail.
RUN_OUTPUT_LIMIT_BYTES = env.whole("RUN_OUTPUT_LIMIT_BYTES", 1024 * 1024)
# How large a run's options may be, as JSON: each run keeps its own copy.
RUN_OPTIONS_LIMIT_BYTES = env.whole("RUN_OPTIONS_LIMIT_BYTES", 64 * 1024)
# A larger message is not even read: a worker puts it on record as a dead letter.
MESSAGE_LIMIT_BYTES = env.whole("MESSAGE_LIMIT_BYTES", 1024 * 1024)
# How long a published run may stay unclaimed before it is published again; the time doubles with each.
REPUBLISH_AFTER_SECONDS = env.seconds("REPUBLISH_AFTER_SECONDS", 60)
# A running job shows every so often that it lives; silent for the length of its lease, it is taken for lost.
HEARTBEAT_SECONDS = env.seconds("HEARTBEAT_SECONDS", 2)
LEASE_SECONDS = env.seconds("LEASE_SECONDS", 60)
if LEASE_SECONDS < 3 * HEARTBEAT_SECONDS:
    raise ImproperlyConfigured(
        f"LEASE_SECONDS is {LEASE_SECONDS:g}; wanted: at least three times HEARTBEAT_SECONDS, "
        f"which is {HEARTBEAT_SECONDS:g}. A run whose one heartbeat came late would be taken for lost."
    )
# How long a worker that was told to stop lets its runs go on before it cancels them.
SHUTDOWN_GRACE_SECONDS = env.seconds("SHUTDOWN_GRACE_SECONDS", 540)
# Where beat and workers touch a file when they have done their work; empty: nowhere.
HEALTH_DIR = env.text("HEALTH_DIR")
