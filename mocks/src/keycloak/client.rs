//! Who a client is, and how it proves it.

use super::authority::Authority;
use crate::{call::Call, keycloak::Refusal, realm::ClientConfig};

/// What Keycloak says of a client that it does not know or believe.
const INVALID: &str = "Invalid client or Invalid client credentials";

impl Authority<'_> {
    /// The client that makes a call, if it proves who it is: by basic authentication or in the form. A public client
    /// has nothing to prove.
    pub(super) fn client(&self, call: &Call) -> Result<ClientConfig, Refusal> {
        let basic = call.basic();
        let (id, secret) = if let Some((id, secret)) = &basic {
            (id.as_str(), Some(secret.as_str()))
        } else {
            let missing = || Refusal::new(400, "invalid_client", "Missing client_id parameter");
            (
                call.form("client_id").ok_or_else(missing)?,
                call.form("client_secret"),
            )
        };
        let client = self.realm.clients.get(id).filter(|client| client.enabled);
        let client = client.ok_or_else(|| Refusal::new(401, "invalid_client", INVALID))?;
        if client.secret.is_some() && secret != client.secret.as_deref() {
            return Err(Refusal::new(401, "unauthorized_client", INVALID));
        }
        Ok(client.clone())
    }
}
