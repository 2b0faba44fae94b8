//! What the mocks see, told to whoever watches.

use std::sync::Arc;

use serde_json::{Map, Value};

/// Something that happened at a mock. Users and browsers are scenario names, found by the tokens, codes and cookies
/// that a request carries; they are known also when the login session behind them is over.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// A request arrived.
    Call {
        /// Number of the call; counts from 1 since the last reset.
        id: u64,
        /// Name of the route.
        route: &'static str,
        /// Verb.
        method: String,
        /// Path and query as seen, secrets replaced by a short hash.
        path: String,
        /// On whose behalf.
        user: Option<String>,
        /// In which browser that user signed in.
        browser: Option<String>,
        /// A form body, secrets replaced by a short hash.
        form: Option<Map<String, Value>>,
        /// A JSON body that is an object.
        json: Option<Map<String, Value>>,
    },
    /// The head of an answer goes out. Never for a request that hangs.
    Answer {
        /// The call.
        id: u64,
        /// HTTP status; 0 for a connection that is reset instead.
        status: u16,
        /// The fault that it met.
        fault: Option<String>,
    },
    /// The caller left, or was cut off, before an answer.
    Abandoned {
        /// The call.
        id: u64,
    },
    /// A request that no route takes.
    Unmatched {
        /// The service that got it.
        service: &'static str,
        /// Verb.
        method: String,
        /// Path as seen.
        path: String,
    },
    /// An event stream was accepted.
    StreamOpened {
        /// The call that opened it.
        id: u64,
        /// The reader.
        user: String,
        /// `/project/42/issue`
        topic: String,
    },
    /// An event stream is over.
    StreamClosed {
        /// The stream.
        id: u64,
        /// The reader.
        user: String,
        /// `/project/42/issue`
        topic: String,
        /// Why: `reader left`, `cut`, `slow reader`, `access lost`, `token revoked`, `ended` or `reset`.
        reason: String,
    },
    /// GitLab pushed an event.
    Emitted {
        /// `/project/42/issue`
        topic: String,
        /// Its id on the streams.
        event_id: String,
    },
    /// A fault met a call, or cut streams.
    FaultFired {
        /// Number of the fault.
        id: u64,
        /// The route that met it.
        route: String,
        /// What it does.
        fault: String,
    },
    /// GitLab called a hook.
    HookCalled {
        /// Number of the hook.
        hook: u64,
        /// Its project.
        project: u64,
        /// The event, as streams name it.
        event_id: String,
        /// Which attempt it was; 0 when too many waited, and none was made.
        attempt: u32,
        /// What was answered; 0 when nothing was.
        status: u16,
    },
    /// A client was told by back-channel logout that a login session is over.
    LogoutDelivered {
        /// Whose session.
        user: String,
        /// In which browser.
        browser: String,
        /// What the client answered; 0 when it could not be reached.
        status: u16,
    },
}

/// Whom the mocks tell. Called at once, in order, under the mocks' lock: it must not call them.
pub type Observer = Arc<dyn Fn(&Observation) + Send + Sync>;
