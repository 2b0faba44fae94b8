//! Checks of a token's header and claims, besides its signature. `docs/openid.md` lists each with its section of the
//! specification and its test.
//!
//! Claims are untrusted numbers and texts: times are compared as seconds that cannot overflow, and a claim of the wrong
//! type counts as wrong, not as absent.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// How far the provider's clock may be off, in seconds.
const SKEW_S: i64 = 60;
/// The event that makes a JWT a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Use of a token at this server.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokenUse<'a> {
    /// Tells who signed in; carries this nonce.
    Id { nonce: &'a str },
    /// Ends login sessions.
    Logout,
    /// Lets a client in that is not a browser.
    Access,
}

/// Expectations of every token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// The present time, in seconds since 1970.
    pub(super) now_s: i64,
}

/// Reads a token's header without believing it.
pub(super) fn read_header(token: &str) -> Result<Value, String> {
    let part = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// Checks a header. A `crit` that is not understood must be refused (RFC 7515 §4.1.11), and none is understood here.
pub(super) fn check_header(header: &Value, token_use: TokenUse<'_>) -> Result<(), String> {
    if header.get("crit").is_some() {
        return Err("it has a `crit` header, and no extension is understood".to_owned());
    }
    let kind = match header.get("typ") {
        None => return Ok(()),
        Some(kind) => kind.as_str().unwrap_or_default().to_ascii_lowercase(),
    };
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    let is_fitting = match token_use {
        TokenUse::Id { .. } => kind == "jwt",
        TokenUse::Logout => ["jwt", "logout+jwt"].contains(&kind),
        TokenUse::Access => ["jwt", "at+jwt"].contains(&kind),
    };
    if is_fitting {
        Ok(())
    } else {
        Err(format!("its type is `{}`", excerpt(kind)))
    }
}

/// Checks the claims of a token for one use.
pub(super) fn check_claims(
    claims: &Value,
    token_use: TokenUse<'_>,
    expected: Expected<'_>,
) -> Result<(), String> {
    if claims["iss"].as_str() != Some(expected.issuer) {
        return Err("its issuer is another".to_owned());
    }
    check_times(claims, token_use, expected.now_s)?;
    match token_use {
        TokenUse::Id { nonce } => {
            check_audience(claims, expected.client_id)?;
            if claims["nonce"].as_str() != Some(nonce) {
                return Err("it is of another sign-in".to_owned());
            }
        }
        TokenUse::Logout => {
            check_audience(claims, expected.client_id)?;
            check_logout(claims)?;
        }
        TokenUse::Access => check_access(claims, expected.client_id)?,
    }
    Ok(())
}

fn check_times(claims: &Value, token_use: TokenUse<'_>, now_s: i64) -> Result<(), String> {
    let expires = seconds(claims, "exp")?.ok_or("it has no `exp`")?;
    if expires.saturating_add(SKEW_S) < now_s {
        return Err("it has expired".to_owned());
    }
    if seconds(claims, "nbf")?.is_some_and(|from| from.saturating_sub(SKEW_S) > now_s) {
        return Err("it is not valid yet".to_owned());
    }
    // No specification refuses an `iat` in the future: the provider's clock may be ahead.
    match (seconds(claims, "iat")?, token_use) {
        (None, TokenUse::Id { .. } | TokenUse::Logout) => Err("it has no `iat`".to_owned()),
        (None, TokenUse::Access) | (Some(_), _) => Ok(()),
    }
}

/// A time claim (RFC 7519 §2, `NumericDate`): a number, which may have a fraction.
fn seconds(claims: &Value, name: &str) -> Result<Option<i64>, String> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.is_finite())?;
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
        Some(number as i64)
    });
    whole
        .map(Some)
        .ok_or_else(|| format!("its `{name}` is not a number"))
}

/// `aud` is a text or a list of texts, and names this client. Of several, `azp` must name it too; a present `azp` always
/// must (OpenID Connect Core 1.0 §3.1.3.7, 3 to 5).
fn check_audience(claims: &Value, client_id: &str) -> Result<(), String> {
    let audiences: Vec<_> = match &claims["aud"] {
        Value::String(audience) => vec![audience.as_str()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.contains(&client_id) {
        return Err("it is for another client".to_owned());
    }
    match claims.get("azp") {
        Some(party) if party.as_str() == Some(client_id) => Ok(()),
        Some(_) => Err("it was issued to another client".to_owned()),
        None if audiences.len() > 1 => Err("it is for several clients and has no `azp`".to_owned()),
        None => Ok(()),
    }
}

fn check_logout(claims: &Value) -> Result<(), String> {
    if !claims["events"][LOGOUT_EVENT].is_object() {
        return Err("it is not a logout token".to_owned());
    }
    if claims.get("nonce").is_some() {
        return Err("a logout token has no `nonce`".to_owned());
    }
    if claims["jti"].as_str().is_none_or(str::is_empty) {
        return Err("it has no `jti`".to_owned());
    }
    let names = |name: &str| claims[name].as_str().is_some_and(|text| !text.is_empty());
    if names("sub") || names("sid") {
        Ok(())
    } else {
        Err("it names neither a `sub` nor a `sid`".to_owned())
    }
}

/// Keycloak says in `typ` what a token is. Where nothing is said, claims of the other kinds tell.
fn check_access(claims: &Value, client_id: &str) -> Result<(), String> {
    let is_access = match claims.get("typ") {
        Some(kind) => kind == "Bearer",
        None => claims.get("nonce").is_none() && claims.get("events").is_none(),
    };
    if !is_access {
        return Err("it is not an access token".to_owned());
    }
    if claims["azp"].as_str() == Some(client_id) {
        Ok(())
    } else {
        Err("it was issued to another client".to_owned())
    }
}

fn excerpt(text: &str) -> String {
    polytab_protocol::message::excerpt(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://sso/realms/r",
        client_id: "ui",
        now_s: NOW,
    };
    const ID: TokenUse<'static> = TokenUse::Id { nonce: "n" };

    /// Claims that are right for a use.
    fn right(token_use: TokenUse<'_>) -> Value {
        let mut claims = json!({ "iss": "https://sso/realms/r", "exp": NOW + 300, "iat": NOW, "sub": "ada" });
        let more = match token_use {
            TokenUse::Id { nonce } => json!({ "aud": "ui", "azp": "ui", "nonce": nonce }),
            TokenUse::Logout => {
                json!({ "aud": "ui", "jti": "j", "sid": "s", "events": { LOGOUT_EVENT: {} } })
            }
            TokenUse::Access => json!({ "aud": "account", "azp": "ui", "typ": "Bearer" }),
        };
        merge(&mut claims, &more);
        claims
    }

    /// Replaces claims; `null` takes one away.
    fn merge(claims: &mut Value, more: &Value) {
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
    }

    fn checked(token_use: TokenUse<'_>, changes: &Value) -> Result<(), String> {
        let mut claims = right(token_use);
        merge(&mut claims, changes);
        check_claims(&claims, token_use, EXPECTED)
    }

    #[test]
    fn right_claims_pass() {
        for token_use in [ID, TokenUse::Logout, TokenUse::Access] {
            assert_eq!(checked(token_use, &json!({})), Ok(()), "{token_use:?}");
        }
        for changes in [
            json!({ "aud": ["ui"], "azp": null }),
            json!({ "aud": ["ui", "other"] }),
            json!({ "exp": NOW - 59 }),
            json!({ "iat": NOW + 600 }),
            json!({ "exp": 1.9e9 }),
        ] {
            assert_eq!(checked(ID, &changes), Ok(()), "{changes}");
        }
    }

    #[test]
    fn each_wrong_claim_is_refused() {
        let common = [
            json!({ "iss": null }),
            json!({ "iss": "https://evil" }),
            json!({ "iss": ["https://sso/realms/r"] }),
            json!({ "exp": null }),
            json!({ "exp": NOW - 61 }),
            json!({ "exp": "never" }),
            json!({ "nbf": NOW + 61 }),
            json!({ "nbf": [] }),
            json!({ "iat": "now" }),
        ];
        let id = [
            json!({ "aud": null }),
            json!({ "aud": "other" }),
            json!({ "aud": ["ui", "other"], "azp": null }),
            json!({ "azp": "other" }),
            json!({ "azp": 1 }),
            json!({ "iat": null }),
            json!({ "nonce": null }),
            json!({ "nonce": "another" }),
        ];
        let logout = [
            json!({ "aud": null }),
            json!({ "aud": "other" }),
            json!({ "iat": null }),
            json!({ "jti": null }),
            json!({ "jti": "" }),
            json!({ "nonce": "n" }),
            json!({ "events": null }),
            json!({ "events": {} }),
            json!({ "events": { LOGOUT_EVENT: true } }),
            json!({ "events": [LOGOUT_EVENT] }),
            json!({ "sub": null, "sid": null }),
        ];
        let access = [
            json!({ "azp": null }),
            json!({ "azp": "other" }),
            json!({ "typ": "ID" }),
            json!({ "typ": "Refresh" }),
            json!({ "typ": null, "nonce": "n" }),
            json!({ "typ": null, "events": {} }),
        ];
        let uses = [
            (ID, &id[..]),
            (TokenUse::Logout, &logout),
            (TokenUse::Access, &access),
        ];
        for (token_use, own) in uses {
            for changes in common.iter().chain(own) {
                assert!(checked(token_use, changes).is_err(), "{token_use:?} {changes}");
            }
        }
    }

    #[test]
    fn a_header_of_another_kind_is_refused() {
        for (header, token_use, is_right) in [
            (json!({}), ID, true),
            (json!({ "typ": "JWT" }), ID, true),
            (json!({ "typ": "logout+jwt" }), TokenUse::Logout, true),
            (json!({ "typ": "application/logout+jwt" }), TokenUse::Logout, true),
            (json!({ "typ": "at+jwt" }), TokenUse::Access, true),
            (json!({ "typ": "logout+jwt" }), ID, false),
            (json!({ "typ": "at+jwt" }), TokenUse::Logout, false),
            (json!({ "typ": 1 }), TokenUse::Access, false),
            (json!({ "crit": ["exp"] }), ID, false),
            (json!({ "crit": [] }), TokenUse::Access, false),
        ] {
            assert_eq!(
                check_header(&header, token_use).is_ok(),
                is_right,
                "{header} {token_use:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_number_panics(
            name in prop::sample::select(vec!["exp", "nbf", "iat"]),
            number in prop_oneof![
                any::<i64>().prop_map(Value::from),
                any::<u64>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
            ],
        ) {
            for token_use in [ID, TokenUse::Logout, TokenUse::Access] {
                let changes = json!({ name: number });
                // Any answer will do.
                checked(token_use, &changes).ok();
            }
        }
    }
}
