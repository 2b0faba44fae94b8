//! The server over TCP, spoken to in raw bytes.

mod abuse;
mod abuse_commands;
mod abuse_floods;
mod abuse_frames;
mod abuse_upstream;
mod browser;
mod caps;
mod closing;
mod deploy;
mod echo;
mod handshake;
mod process;
mod services;
mod sign_in;
mod support;
#[cfg(feature = "otel")]
mod telemetry;
mod tls;
mod wire;
