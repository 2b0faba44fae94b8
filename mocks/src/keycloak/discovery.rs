//! What the realm says of itself: endpoints and keys. It advertises what works, and nothing else.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Asked, authority::Authority, fault::KeycloakFault};

/// Both documents change with the realm.
const FRESH: [(HeaderName, &str); 1] = [(
    header::CACHE_CONTROL,
    "no-cache, must-revalidate, no-transform, no-store",
)];

/// `GET …/realms/{realm}`
pub(super) async fn realm((State(at), Extension(call)): Asked) -> Response {
    at.decide(&call, |authority| {
        let realm = &authority.realm;
        Json(json!({
            "realm": realm.name,
            "public_key": authority.keys.public_key(&realm.ring),
            "token-service": format!("{}/protocol/openid-connect", realm.issuer),
            "account-service": format!("{}/account", realm.issuer),
            "tokens-not-before": realm.settings.not_before,
        }))
        .into_response()
    })
}

/// `GET …/.well-known/openid-configuration`
pub(super) async fn document((State(at), Extension(call)): Asked) -> Response {
    let document = at.decide(&call, |authority| authority.document());
    (FRESH, Json(document)).into_response()
}

/// `GET …/certs`
pub(super) async fn certs((State(at), Extension(call)): Asked) -> Response {
    let keys = at.decide(&call, |authority| authority.certs());
    ([(header::CACHE_CONTROL, "no-cache")], Json(keys)).into_response()
}

impl Authority<'_> {
    fn certs(&self) -> Value {
        let mut keys = self.keys.jwks(&self.realm.ring);
        let active = self.realm.ring.active();
        if let (Some(fault), Value::Array(keys)) = (self.fault, &mut keys["keys"]) {
            match fault {
                KeycloakFault::JwksEmpty => keys.clear(),
                KeycloakFault::JwksStale => keys.retain(|key| key["kid"] != active),
                _ => {}
            }
        }
        keys
    }

    fn document(&self) -> Value {
        let issuer = &self.realm.issuer;
        let at = |path: &str| format!("{issuer}/protocol/openid-connect/{path}");
        let by_client = ["client_secret_basic", "client_secret_post"];
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": at("auth"),
            "token_endpoint": at("token"),
            "introspection_endpoint": at("token/introspect"),
            "userinfo_endpoint": at("userinfo"),
            "end_session_endpoint": at("logout"),
            "frontchannel_logout_session_supported": false,
            "frontchannel_logout_supported": false,
            "jwks_uri": at("certs"),
            "check_session_iframe": at("login-status-iframe.html"),
            "revocation_endpoint": at("revoke"),
            "grant_types_supported": ["authorization_code", "client_credentials", "password", "refresh_token"],
            "acr_values_supported": ["0", "1"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["public"],
            "prompt_values_supported": ["none", "login"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": by_client,
            "introspection_endpoint_auth_methods_supported": by_client,
            "revocation_endpoint_auth_methods_supported": by_client,
            "claims_supported": [
                "iss", "sub", "aud", "exp", "iat", "auth_time", "name", "given_name", "family_name",
                "preferred_username", "email", "acr", "azp", "nonce",
            ],
            "claim_types_supported": ["normal"],
            "claims_parameter_supported": false,
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
            "require_request_uri_registration": false,
            "code_challenge_methods_supported": ["plain", "S256"],
            "tls_client_certificate_bound_access_tokens": false,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "authorization_response_iss_parameter_supported": true,
        });
        if self.fault == Some(KeycloakFault::DiscoveryIssuerMismatch) {
            document["issuer"] = format!("{issuer}-of-somebody-else").into();
        }
        document
    }
}
