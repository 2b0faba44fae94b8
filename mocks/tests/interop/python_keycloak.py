"""PyPI python-keycloak: the OpenID client and the administration, and their refusals."""

import os
import sys
from urllib.parse import urlsplit

from keycloak import KeycloakAdmin, KeycloakOpenID
from keycloak.exceptions import KeycloakError

issuer = urlsplit(os.environ["ISSUER"])
server = f"{issuer.scheme}://{issuer.netloc}{issuer.path.split('/realms/')[0]}/"


def step(name):
    def run(act):
        try:
            act()
        except Exception as error:
            print(f"FAILED {name}: {error!r}", file=sys.stderr)
            raise
        print(f"ok {name}")

    return run


def refused(act, status, text):
    try:
        act()
    except KeycloakError as error:
        assert error.response_code == status, error
        assert text in str(error), error
        return
    raise AssertionError(f"not refused: expected {status} {text}")


openid = KeycloakOpenID(
    server_url=server, realm_name="Renku", client_id="renku-ui", client_secret_key="client-secret-for-tests-only"
)
admin = KeycloakAdmin(
    server_url=server, username="admin", password="password-of-admin", realm_name="Renku", user_realm_name="master"
)


@step("signs in, asks, refreshes")
def _():
    assert openid.well_known()["issuer"] == issuer.geturl()
    token = openid.token("ada", "password-of-ada", scope="openid")
    assert openid.userinfo(token["access_token"])["preferred_username"] == "ada"
    assert openid.introspect(token["access_token"])["active"]
    fresh = openid.refresh_token(token["refresh_token"])
    assert fresh["refresh_token"] != token["refresh_token"]
    claims = openid.decode_token(fresh["access_token"], check_claims={"aud": None})
    assert claims["iss"] == issuer.geturl(), claims
    assert "BEGIN PUBLIC KEY" not in openid.public_key() and len(openid.public_key()) > 300
    assert {key["use"] for key in openid.certs()["keys"]} == {"sig", "enc"}


@step("is refused")
def _():
    refused(lambda: openid.token("ada", "wrong"), 401, "Invalid user credentials")
    refused(lambda: openid.refresh_token("made-up"), 400, "Invalid refresh token")
    refused(lambda: openid.userinfo("made-up"), 401, "Token verification failed")


@step("signs out")
def _():
    token = openid.token("ada", "password-of-ada", scope="openid")
    openid.logout(token["refresh_token"])
    assert not openid.introspect(token["access_token"])["active"]
    refused(lambda: openid.refresh_token(token["refresh_token"]), 400, "Session not active")


@step("administers users")
def _():
    user = admin.create_user(
        {
            "username": "Grace",
            "email": "grace@example.org",
            "enabled": True,
            "firstName": "Grace",
            "credentials": [{"type": "password", "value": "first"}],
        }
    )
    assert admin.get_user_id("grace") == user
    assert admin.get_user(user)["firstName"] == "Grace"
    refused(lambda: admin.create_user({"username": "grace"}), 409, "User exists with same username")
    names = [found["username"] for found in admin.get_users({"search": "gra"})]
    assert names == ["grace"], names
    assert admin.users_count() >= 3
    openid.token("grace", "first")
    admin.set_user_password(user, "second", temporary=False)
    refused(lambda: openid.token("grace", "first"), 401, "Invalid user credentials")
    openid.token("grace", "second")
    admin.update_user(user, {"enabled": False})
    refused(lambda: openid.token("grace", "second"), 400, "Account disabled")
    admin.delete_user(user)
    refused(lambda: admin.get_user(user), 404, "User not found")


@step("administers sessions")
def _():
    token = openid.token("bob", "password-of-bob")
    bob = admin.get_user_id("bob")
    sessions = admin.get_sessions(bob)
    assert [session["id"] for session in sessions] == [token["session_state"]], sessions
    assert list(sessions[0]["clients"].values()) == ["renku-ui"]
    admin.user_logout(bob)
    assert admin.get_sessions(bob) == []
    refused(lambda: openid.refresh_token(token["refresh_token"]), 400, "Session not active")
    assert openid.token("bob", "password-of-bob")["not-before-policy"] > 0


@step("administers the realm")
def _():
    assert admin.get_realm("Renku")["accessTokenLifespan"] == 300
    admin.update_realm("Renku", {"accessTokenLifespan": 60})
    assert openid.token("ada", "password-of-ada")["expires_in"] == 60
    admin.update_realm("Renku", {"accessTokenLifespan": 300})
    client = admin.get_client_id("renku-ui")
    assert client is not None
    assert "RS256" in admin.get_keys()["active"]
    role = admin.get_realm_role("offline_access")
    ada = admin.get_user_id("ada")
    admin.assign_realm_roles(ada, [role])
    assert "offline_access" in [found["name"] for found in admin.get_realm_roles_of_user(ada)]


@step("lets nobody else administer")
def _():
    eve = KeycloakAdmin(
        server_url=server,
        username="ada",
        password="password-of-ada",
        realm_name="Renku",
        client_id="renku-ui",
        client_secret_key="client-secret-for-tests-only",
    )
    refused(lambda: eve.get_users({}), 403, "HTTP 403 Forbidden")
