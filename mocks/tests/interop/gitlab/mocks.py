"""The mocks as these scripts see them: where they are, and how a user and a token come about."""

import os

import requests

GITLAB = os.environ["GITLAB"]
CONTROL = os.environ["CONTROL"]
ISSUER = os.environ["ISSUER"]
PROJECT = 42


def control(method, path, order=None):
    """Gives the mocks an order; returns what they answer, if anything."""
    answer = requests.request(method, CONTROL + path, json=order, timeout=10)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def begin():
    """Starts over with one user who owns the project; returns a token of hers."""
    control("POST", "/reset")
    control("PUT", "/users/ada", {"password": "password-of-ada", "projects": [PROJECT]})
    form = {
        "grant_type": "password",
        "client_id": "renku-ui",
        "client_secret": "client-secret-for-tests-only",
        "username": "ada",
        "password": "password-of-ada",
        "scope": "openid",
    }
    answer = requests.post(f"{ISSUER}/protocol/openid-connect/token", data=form, timeout=10)
    answer.raise_for_status()
    return answer.json()["access_token"]


def generate(kind, **more):
    """Something happens in the project; returns the ids of the events."""
    return control("POST", f"/projects/{PROJECT}/events", {"type": kind, **more})["ids"]


def check(what, found, wanted):
    """Prints that something holds, or ends the script."""
    if found != wanted:
        raise SystemExit(f"FAILED {what}: {found!r} and not {wanted!r}")
    print(f"ok {what}")
