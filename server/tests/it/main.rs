//! The server over TCP, spoken to in raw bytes.

mod echo;
mod handshake;
mod support;
