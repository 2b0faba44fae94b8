//! Clients of the realm: who they are, how they prove it, where they may lead.

use crate::{
    Shared,
    call::Call,
    config::{ClientConfig, MocksConfig},
    keycloak::Refusal,
};

/// What Keycloak says of a client that it does not know or believe.
const INVALID: &str = "Invalid client or Invalid client credentials";

impl MocksConfig {
    /// All clients of the realm, the server's first, the gateway's last.
    pub(super) fn clients(&self) -> impl Iterator<Item = ClientConfig> {
        let own = ClientConfig {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            redirect_uris: self.redirect_uris.clone(),
            backchannel_logout_url: self.backchannel_logout_url.clone(),
        };
        std::iter::once(own)
            .chain(self.other_clients.iter().cloned())
            .chain([self.gateway.client()])
    }

    /// The client of that id.
    pub(super) fn client(&self, id: &str) -> Option<ClientConfig> {
        self.clients().find(|client| client.client_id == id)
    }
}

impl ClientConfig {
    /// Whether a login of this client may lead there.
    pub(super) fn may_lead_to(&self, uri: &str) -> bool {
        self.redirect_uris
            .iter()
            .any(|allowed| match allowed.strip_suffix('*') {
                Some(start) => uri.starts_with(start),
                None => uri == allowed,
            })
    }
}

/// The client that makes a call, if it proves who it is: by basic authentication or in the form.
pub(super) fn authenticate(shared: &Shared, call: &Call) -> Result<ClientConfig, Refusal> {
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
    let client = shared
        .config
        .client(id)
        .ok_or_else(|| Refusal::new(401, "invalid_client", INVALID))?;
    if secret == Some(client.client_secret.as_str()) {
        Ok(client)
    } else {
        Err(Refusal::new(401, "unauthorized_client", INVALID))
    }
}
