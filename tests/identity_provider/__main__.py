"""The provider's process: oidc-provider-mock, and a check of PKCE, which it lacks."""

import base64
import hashlib
import json
import sys
from urllib.parse import parse_qs, urlsplit

import flask
import oidc_provider_mock
from werkzeug.serving import make_server

challenges: dict[str, str] = {}
"""What must fit the verifier that comes with a code."""


def remember_challenge(response: flask.Response) -> flask.Response:
    """A code was given out, or not."""
    code = parse_qs(urlsplit(response.location or "").query).get("code")
    if flask.request.path == "/oauth2/authorize" and code:
        assert flask.request.args["code_challenge_method"] == "S256"
        challenges[code[0]] = flask.request.args["code_challenge"]
    return response


def speak_of_somebody_else(response: flask.Response) -> flask.Response:
    """A user who is described with another subject."""
    if flask.request.path == "/userinfo" and (said := response.get_json()).get("other_sub"):
        response.set_data(json.dumps({**said, "sub": said["other_sub"]}))
    return response


def refuse_without_verifier() -> tuple[dict[str, str], int] | None:
    """A code is redeemed by whoever asked for it."""
    if flask.request.path != "/oauth2/token":
        return None
    digest = hashlib.sha256(flask.request.form.get("code_verifier", "").encode()).digest()
    fits = challenges.pop(flask.request.form["code"], "") == base64.urlsafe_b64encode(digest).decode().rstrip(
        "="
    )
    return None if fits else ({"error": "invalid_grant"}, 400)


def serve(port: int) -> None:
    """Until the process is ended."""
    app = oidc_provider_mock.app()
    app.before_request(refuse_without_verifier)
    app.after_request(remember_challenge)
    app.after_request(speak_of_somebody_else)
    make_server("127.0.0.1", port, app, threaded=True).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
