//! The mocks from outside, over all their ports. One executable for all tests: each of its own would be linked for
//! itself, and wait for those before it.

#![expect(clippy::unwrap_used, reason = "what cannot be in a test may panic")]

mod alerts;
mod backend;
mod backend_lives;
mod backend_plans;
mod bounds;
mod control;
mod control_clock;
mod control_openapi;
mod control_state;
mod gateway;
mod gitlab_api;
mod gitlab_hooks;
mod gitlab_payloads;
mod gitlab_streams;
mod harness;
mod interop;
mod interop_gitlab;
mod keycloak;
mod keycloak_pages;
mod keycloak_sessions;
mod openidconnect;
mod refusals;
mod services;
mod stub_oracle;
mod stubs;
mod support;
