//! The services behind the server, as few of them as a sign-in needs, and tokens that they signed.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use polytab_server::Config;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

const REALM: &str = "/auth/realms/Renku";

/// What signs the tokens of all tests: a key takes a tenth of a second to make.
static KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("the library makes RSA keys"));

/// Keycloak's endpoints; the paths of the other services answer as a test says, else 404.
pub(crate) async fn services() -> MockServer {
    let server = MockServer::start().await;
    // A 2048-bit key as RFC 8017 §A.1.1 encodes it: the modulus follows nine bytes of lengths and a zero.
    let modulus = URL_SAFE_NO_PAD.encode(&KEY.der_bytes()[9..265]);
    let uri = server.uri();
    for (route, body) in [
        (
            format!("{REALM}/.well-known/openid-configuration"),
            json!({
                "issuer": format!("{uri}{REALM}"),
                "authorization_endpoint": format!("{uri}/authorize"),
                "token_endpoint": format!("{uri}/token"),
                "introspection_endpoint": format!("{uri}/introspect"),
                "jwks_uri": format!("{uri}/certs"),
            }),
        ),
        (
            "/certs".to_owned(),
            json!({ "keys": [{ "kid": "k", "kty": "RSA", "alg": "RS256", "use": "sig", "n": modulus, "e": "AQAB" }] }),
        ),
        ("/introspect".to_owned(), json!({ "active": true })),
    ] {
        Mock::given(path(route))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            // What a test says goes before it.
            .with_priority(9)
            .mount(&server)
            .await;
    }
    server
}

/// Settings of a server before these services, which takes any number of commands.
pub(crate) fn config(services: &MockServer) -> Config {
    let url = |path: &str| {
        format!("{}{path}", services.uri())
            .parse()
            .expect("the URL of a server parses")
    };
    Config {
        oidc_issuer: url(REALM),
        backend_url: url("/api"),
        gitlab_url: url(""),
        commands_burst: 10_000,
        ..Config::default()
    }
}

/// An access token for this user.
pub(crate) fn token(services: &MockServer, user: &str) -> String {
    signed(&json!({
        "iss": format!("{}{REALM}", services.uri()),
        "azp": "renku-ui",
        "sub": user,
        "exp": in_an_hour(),
    }))
}

/// These claims as a JWT.
pub(crate) fn signed(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!(
        "{}.{}",
        part(&json!({ "alg": "RS256", "kid": "k", "typ": "JWT" })),
        part(claims)
    );
    let signature = KEY.sign(text.as_bytes()).expect("an RSA key signs");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server under test reads the system's clock"
)]
pub(crate) fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs() + 3600
}
