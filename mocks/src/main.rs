//! The mocks alone, over TCP.
fn main() {}
