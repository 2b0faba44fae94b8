//! What a test ordered and nobody met, and what was asked for and nobody knows: slips of a test or of a server.

use std::fmt;

use crate::{
    Mocks,
    order::{UnmatchedCall, UnusedFault},
    stub::UnusedStub,
};

/// Something that was to be met and was not, or the reverse.
#[derive(Clone, Debug, PartialEq)]
pub enum LooseEnd {
    /// A fault that no call met.
    Fault(UnusedFault),
    /// A stub that took no request.
    Stub(UnusedStub),
    /// A request that no route and no stub takes.
    Unmatched(UnmatchedCall),
}

impl fmt::Display for LooseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => {
                let route = fault.order.on.route.as_deref().unwrap_or("all");
                write!(
                    f,
                    "the fault `{}` on `{route}` was met by no call",
                    fault.order.action
                )
            }
            Self::Stub(stub) => write!(f, "the stub for `{}` took no request", stub.stub),
            Self::Unmatched(call) => {
                write!(
                    f,
                    "{} has no route for {} {}",
                    call.service, call.method, call.path
                )?;
                match &call.nearest {
                    Some(nearest) => write!(f, "; nearest: `{nearest}`"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Mocks {
    /// What is loose since the last reset: unused faults and stubs in the order in which they were given, then
    /// requests that nobody takes, each verb and path once.
    pub fn loose_ends(&self) -> Vec<LooseEnd> {
        let mut unmatched: Vec<UnmatchedCall> = Vec::new();
        for call in self.unmatched() {
            if !unmatched.contains(&call) {
                unmatched.push(call);
            }
        }
        let faults = self.unused_faults().into_iter().map(LooseEnd::Fault);
        let stubs = self.unused_stubs().into_iter().map(LooseEnd::Stub);
        faults
            .chain(stubs)
            .chain(unmatched.into_iter().map(LooseEnd::Unmatched))
            .collect()
    }
}
