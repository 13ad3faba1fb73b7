"""The one place where the environment is read.

Every variable has a default that suits a developer's machine; `DATABASE_URL`, `REDIS_URL` and
`KAFKA_BOOTSTRAP_SERVERS` are put there by `manage.py` from the embedded services when they are not set.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import inf
from pathlib import Path
from urllib.parse import unquote, urlsplit

import django_stubs_ext
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from accounts.limits import Limit
from events.topics import TOPICS, Topic

# Django's generic classes (ModelAdmin, BaseUserManager …) take their type arguments at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent


def _required(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it, or start the project through manage.py, which runs embedded services."
        ) from None


def _flag(name: str, default: str) -> bool:
    return os.environ.get(name, default).lower() in {"1", "true", "yes", "on"}


def _words(name: str, default: str = "") -> list[str]:
    return [word for word in os.environ.get(name, default).replace(",", " ").split() if word]


def _limit(name: str, default: str) -> Limit:
    burst, _, per = (os.environ.get(name) or default).partition("/")
    try:
        limit = Limit(int(burst), float(per))
    except ValueError:
        limit = Limit(0, 0)
    if limit.burst < 1 or not 0 < limit.per < inf:
        raise ImproperlyConfigured(f"{name} says how many within how many seconds, such as {default}.")
    return limit


def _networks(name: str, default: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(word) for word in _words(name, default)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} lists networks, such as 10.0.0.0/8: {error}.") from None


DEBUG = _flag("DEBUG", "0")
# Set by manage.py when the embedded services of a developer's machine stand in for real ones.
EMBEDDED = _flag("CHAT_EMBEDDED", "0")
# The embedded services' data, and where `manage.py run` says at which addresses it serves.
DATA_DIR = Path(os.environ.get("CHAT_DATA_DIR") or BASE_DIR / ".data")
SECRET_KEY = _required("SECRET_KEY")
ALLOWED_HOSTS = _words("ALLOWED_HOSTS", "localhost 127.0.0.1 [::1]")
# Full origins (scheme, host, port) that may open a WebSocket with a cookie; empty: the same host as the request's.
ALLOWED_ORIGINS = _words("ALLOWED_ORIGINS")
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
# Where links in mails lead (scheme, host, port); never to the host that a request names.
PUBLIC_ORIGIN = (os.environ.get("PUBLIC_ORIGIN") or next(iter(ALLOWED_ORIGINS), "")).rstrip("/")

DATABASE_URL = _required("DATABASE_URL")
REDIS_URL = _required("REDIS_URL")
KAFKA_BOOTSTRAP_SERVERS = _required("KAFKA_BOOTSTRAP_SERVERS")
# Replicas of each topic: 1 on a single broker, 3 in a cluster (then two must have a record before it is acknowledged).
KAFKA_REPLICATION = int(os.environ.get("KAFKA_REPLICATION", "1"))
# Messages older than so many days are deleted by `manage.py purge_messages`; unset: they are kept for ever.
_retention = os.environ.get("MESSAGE_RETENTION_DAYS")
MESSAGE_RETENTION_DAYS = float(_retention) if _retention else None
# Port of the metrics and drain endpoint of a process; unset: no such endpoint. Whoever reaches the address may drain.
METRICS_HOST = os.environ.get("METRICS_HOST", "127.0.0.1")
METRICS_PORT = int(os.environ["METRICS_PORT"]) if os.environ.get("METRICS_PORT") else None

# `ADMIN=0` leaves the admin out of a web process, such as those that the world can reach.
ADMIN = _flag("ADMIN", "1")

INSTALLED_APPS = [
    "daphne",
    "chatproject",  # before the admin, whose first page it extends
    "chatproject.admin_config.ChatAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "ninja",
    "django_prometheus",
    "devstack",
    "events",
    "outbox",
    "accounts",
    "rooms",
    "messaging",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    # Outside of those that refuse requests by themselves, such as one for a host that this is not.
    "chatproject.api.explain_plain_errors",
    # Its header is on every answer, static files and refusals included.
    "csp.middleware.CSPMiddleware",
    "chatproject.nul.refuse_nul",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "chatproject.urls"
ASGI_APPLICATION = "chatproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def read_database_url(url: str) -> dict[str, object]:
    """Translate an address as libpq knows it to Django's words: `postgresql://user:password@host:port/name?option=value`.

    With several hosts (`host1:port1,host2:port2`) each new connection goes to the one that can be written to, in the
    order of their names.
    """
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError:
        # What libpq says would show the password.
        raise ImproperlyConfigured(
            "DATABASE_URL is no address that libpq understands; it looks like"
            " postgresql://user:password@host:port,host:port/name?option=value."
        ) from None
    host = str(given.pop("host", ""))
    return {
        "ENGINE": "django_prometheus.db.backends.postgresql",
        "NAME": given.pop("dbname", ""),
        "USER": given.pop("user", ""),
        "PASSWORD": given.pop("password", ""),
        "HOST": host,
        "PORT": given.pop("port", ""),
        # Under ASGI a connection belongs to no thread for long, so the pool keeps them instead of CONN_MAX_AGE.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # Of each host: one that is silent must not use up the time that the pool's callers wait.
            "connect_timeout": 2,
            "tcp_user_timeout": 5000,
            # A connection on which nobody asks, such as the poller's LISTEN, learns within 15 s that its host is gone.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "options": "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=15000",
            # The pool doubles its wait after each attempt to connect, whoever asks meanwhile: if it went on for longer
            # than two seconds, everybody would wait after an outage for as long as that lasted.
            "pool": {"min_size": 1, "max_size": 8, "timeout": 3, "max_waiting": 256, "reconnect_timeout": 2},
            **({"target_session_attrs": "read-write"} if "," in host else {}),
            **given,
        },
    }


DATABASES = {"default": read_database_url(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Every Redis call has a deadline; what Redis holds may be lost.
REDIS_OPTIONS = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "socket_keepalive": True}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "json",
        "OPTIONS": {
            # Not the default, which runs what it reads: whoever could write to Redis would own every web process.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_TIMEOUT": 1,
            "SOCKET_CONNECT_TIMEOUT": 1,
            "IGNORE_EXCEPTIONS": True,
            "LOG_IGNORED_EXCEPTIONS": True,
        },
    }
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "kafka_layer.KafkaChannelLayer",
        "CONFIG": {
            "bootstrap_servers": KAFKA_BOOTSTRAP_SERVERS,
            "topic": Topic.MESSAGE_NOTIFICATION.value,
            "routes": [
                {"pattern": "room.*", "topic": Topic.MESSAGE_CREATED.value, "format": "json"},
                {"pattern": "rooms", "topic": Topic.ROOM_NOTIFICATION.value, "format": "json"},
                {"pattern": "activity", "topic": Topic.ROOM_NOTIFICATION.value, "format": "json"},
                {"pattern": "user.*", "topic": Topic.ROOM_NOTIFICATION.value, "format": "json"},
            ],
            "partitions": {
                topic.value: TOPICS[topic].partitions
                for topic in (Topic.MESSAGE_NOTIFICATION, Topic.MESSAGE_CREATED, Topic.ROOM_NOTIFICATION)
            },
        },
    }
}

# How often somebody may do something: so many at once, and as many again, evenly, within so many seconds. Each has a
# variable: `LIMIT_JOINS=60/60`.
LIMITS = {
    # Of a person on each web process: messages, edits and deletions; REST calls. Of a socket: frames other than `send`.
    "messages": _limit("LIMIT_MESSAGES", "50/5"),
    "calls": _limit("LIMIT_CALLS", "200/4"),
    "frames": _limit("LIMIT_FRAMES", "300/6"),
    # Of a person on each web process: subscriptions that resume; searches; frames about rooms that the person has no
    # right in.
    "resumes": _limit("LIMIT_RESUMES", "200/20"),
    "searches": _limit("LIMIT_SEARCHES", "10/10"),
    "refusals": _limit("LIMIT_REFUSALS", "50/10"),
    # Of a person.
    "joins": _limit("LIMIT_JOINS", "60/60"),
    "rooms": _limit("LIMIT_ROOMS", "10/60"),
    "renames": _limit("LIMIT_RENAMES", "10/60"),
    "acts": _limit("LIMIT_ACTS", "120/60"),
    "reports": _limit("LIMIT_REPORTS", "10/3600"),
    "exports": _limit("LIMIT_EXPORTS", "5/3600"),
    # Of an e-mail address, for which somebody wants a new password.
    "reset_mails": _limit("LIMIT_RESET_MAILS", "3/3600"),
    # Of a person's id from an address.
    "sign_in_failures": _limit("LIMIT_SIGN_IN_FAILURES", "10/600"),
    # Of an address; the first also where TRUSTED_NETWORKS has it.
    "resets": _limit("LIMIT_RESETS", "20/3600"),
    "sign_ins": _limit("LIMIT_SIGN_INS", "60/60"),
    "sign_ups": _limit("LIMIT_SIGN_UPS", "20/60"),
    "handshakes": _limit("LIMIT_HANDSHAKES", "50/1"),
}
# Open sockets of a person, on all web processes together.
MAX_SOCKETS = int(os.environ.get("MAX_SOCKETS", "20"))
# Networks that are free of the limits by address: offices behind one address, load tests; a developer's own machine.
TRUSTED_NETWORKS = _networks("TRUSTED_NETWORKS", "127.0.0.0/8 ::1/128" if EMBEDDED else "")
# Proxies whose X-Forwarded-For is believed; nobody else's is.
TRUSTED_PROXIES = _networks("TRUSTED_PROXIES", "")

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_RESET_TIMEOUT = 3600  # seconds
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
LOGIN_URL = "/"


# `smtp://user:password@host:port`; `smtp+tls` for STARTTLS, `smtps` for TLS from the start. Unset: no mail is sent,
# except to a developer's screen.
_mail = urlsplit(os.environ.get("EMAIL_URL", ""))
_mail_ports = {"": 25, "smtp": 25, "smtp+tls": 587, "smtps": 465}
if _mail.scheme not in _mail_ports:
    raise ImproperlyConfigured(f"EMAIL_URL must start with smtp://, smtp+tls:// or smtps://, not {_mail.scheme}://.")
SENDS_MAIL = bool(_mail.scheme) or EMBEDDED
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if _mail.scheme else 'console'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT = _mail.hostname or "localhost", _mail.port or _mail_ports[_mail.scheme]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.scheme == "smtp+tls", _mail.scheme == "smtps"
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = os.environ.get("EMAIL_FROM", "chat@localhost")

# Behind TLS (the proxy sets X-Forwarded-Proto) cookies are for https only.
SECURE = _flag("SECURE", "0")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = SECURE
# Probes come from within, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^health/"]
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
# On a developer's machine and in tests nothing is collected: WhiteNoise serves the apps' own files.
STATIC_ROOT = None if EMBEDDED else BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = EMBEDDED

PROMETHEUS_EXPORT_MIGRATIONS = False
PROMETHEUS_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf"))

# One line per event; the process's name stands in front, so that the supervisor's merged log is readable.
PROCESS_NAME = os.environ.get("CHAT_PROCESS", "chat")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": f"%(asctime)s %(levelname)-7s {PROCESS_NAME:<14} %(name)s: %(message)s",
            "datefmt": "%H:%M:%S",
        }
    },
    "filters": {"seldom": {"()": "chatproject.logs.Seldom"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO")},
    "loggers": {
        "daphne.http_protocol": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},
        # Its lines hold what people search for, and whatever else they put into a URL; daphne's are left out by `-v 0`.
        "uvicorn.access": {"level": "WARNING"},
        # What is refused is no news, and its path and host are what somebody else wrote.
        "django.request": {"level": "ERROR", "filters": ["seldom"]},
        "django.security": {"level": "CRITICAL"},
        "psycopg.pool": {"filters": ["seldom"]},
    },
}
