//! `/echo` is for suites of the WebSocket protocol. A server that is built without asking for it has none.

use polytab_server::Config;

use crate::support::{head, with_server};

/// An upgrade with the key of RFC 6455 §1.2, without a cookie or an origin.
const UPGRADE: &str = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn echo_is_there_only_when_the_build_asks_for_it() {
    let head = with_server(Config::default(), async |address| head(address, UPGRADE).await).await;

    let status = if cfg!(feature = "echo") { "101" } else { "404" };
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
}
