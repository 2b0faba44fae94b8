//! Tokens without a page: a sign-in of a user, and tokens that nobody signed in for.

use axum::{Json, extract::State};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Answer,
    openapi::Routes,
    wire::{At, Made, Order},
};
use crate::{
    Mocks,
    error::ControlError,
    json::lay_over,
    keycloak::{authority::Authority, session::after},
    route::nearest,
    seen::Who,
};

/// How a user signs in without a page.
///
/// ```json
/// { "browser": "desk", "scope": "openid email" }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignIn {
    /// What the browser calls itself; `control` unless told.
    pub browser: Option<String>,
    /// The client; the server's unless told.
    pub client: Option<String>,
    /// `openid` unless told.
    pub scope: Option<String>,
}

/// What the token endpoint answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// Seconds that it is good for.
    pub expires_in: i64,
    /// The refresh token.
    pub refresh_token: String,
    /// Seconds that it is good for; 0 for one without an end.
    pub refresh_expires_in: i64,
    /// The ID token, when the scope has `openid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// `Bearer`, or `bearer`.
    pub token_type: String,
    /// Tokens issued before this time (seconds since 1970) are no good.
    #[serde(rename = "not-before-policy")]
    pub not_before_policy: i64,
    /// The login session's id.
    pub session_state: String,
    /// What was granted.
    pub scope: String,
}

/// A token that nobody signed in for.
///
/// ```json
/// { "claims": { "sub": "nobody", "aud": "renku" }, "exp": "-1m" }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mint {
    /// Laid over `iss`, `iat`, `exp`, `jti` and `typ` of an access token; `null` takes a claim away.
    pub claims: Map<String, Value>,
    /// Its life; five minutes unless told. Negative for one that has ended.
    #[schemars(with = "Option<String>")]
    pub exp: Option<SignedDuration>,
    /// Another key id than that of the key that signs.
    pub kid: Option<String>,
    /// `RS256`, or `HS512` as refresh tokens have it.
    pub alg: Algorithm,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// As everybody can verify.
    #[default]
    RS256,
    /// As only Keycloak itself can verify.
    HS512,
}

/// A token that was minted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Minted {
    /// The token.
    pub token: String,
}

impl Mocks {
    /// Signs a user in without a page.
    ///
    /// # Errors
    ///
    /// When there is no such realm, user or client.
    ///
    /// # Panics
    ///
    /// Never: a user's tokens have all fields that are read.
    pub fn sign_in(&self, realm: &str, user: &str, order: &SignIn) -> Result<Tokens, ControlError> {
        let client = order.client.as_ref().unwrap_or(&self.0.config.client.client_id);
        self.at_realm(realm, |authority| {
            let who = Who {
                user: authority.key_of(user)?,
                browser: order.browser.clone().unwrap_or_else(|| "control".to_owned()),
            };
            let tokens = authority.sign_in_without_page(client, (who, order.scope.as_deref()));
            let tokens = tokens.ok_or_else(|| ControlError::UnknownClient {
                nearest: nearest(client, authority.realm.clients.keys().map(String::as_str)),
                name: client.clone(),
            })?;
            Ok(serde_json::from_value(tokens).expect("a user's tokens have these fields"))
        })
    }

    /// Makes a token that nobody signed in for.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn mint(&self, realm: &str, order: &Mint) -> Result<Minted, ControlError> {
        self.at_realm(realm, |authority| {
            let token = authority.mint(order);
            authority.secrets.keep("access_token", &token);
            Ok(Minted { token })
        })
    }
}

impl Authority<'_> {
    fn mint(&self, order: &Mint) -> String {
        let life = order.exp.unwrap_or(SignedDuration::from_mins(5));
        let mut claims = json!({
            "exp": after(self.now, life).as_second(),
            "iat": self.now.as_second(),
            "jti": self.random.uuid("keycloak/jti"),
            "iss": self.realm.issuer,
            "typ": "Bearer",
        });
        lay_over(&mut claims, &Value::Object(order.claims.clone()));
        let ring = &self.realm.ring;
        match order.alg {
            Algorithm::RS256 => {
                let kid = order.kid.as_deref().unwrap_or(ring.active());
                self.keys.sign_as(ring, kid, &claims)
            }
            Algorithm::HS512 => self.keys.sign_own(&claims),
        }
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("Keycloak")
        .post(
            "/realms/{realm}/users/{user}/login",
            (
                "signIn",
                "Signs a user in without a page. Answers what the token endpoint would.",
            ),
            sign_in,
        )
        .post(
            "/realms/{realm}/tokens/mint",
            ("mintToken", "Makes a token that nobody signed in for."),
            mint,
        )
}

/// A user of a realm.
#[derive(Deserialize, JsonSchema)]
struct OfUser {
    /// The realm's name.
    realm: String,
    /// The name by which the user signs in.
    user: String,
}

/// A realm.
#[derive(Deserialize, JsonSchema)]
struct OfRealm {
    /// The realm's name.
    realm: String,
}

async fn sign_in(
    State(mocks): State<Mocks>,
    At(at): At<OfUser>,
    Order(order): Order<SignIn>,
) -> Answer<Json<Tokens>> {
    Ok(Json(mocks.sign_in(&at.realm, &at.user, &order)?))
}

async fn mint(
    State(mocks): State<Mocks>,
    At(at): At<OfRealm>,
    Order(order): Order<Mint>,
) -> Answer<Made<Minted>> {
    Ok(Made(mocks.mint(&at.realm, &order)?))
}
