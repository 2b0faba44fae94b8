//! The server over TCP, spoken to in raw bytes.

mod abuse;
mod abuse_commands;
mod abuse_floods;
mod abuse_frames;
mod abuse_upstream;
mod caps;
mod echo;
mod handshake;
mod services;
mod support;
mod tls;
mod wire;
