//! The end of a connection: the close handshake of RFC 6455 §7, and after it the end of the TCP stream.

use std::time::Duration;

use polytab_server::{Config, Span};

use crate::{
    services::{config, services, token},
    support::with_server,
    wire::{BINARY, CLOSE, FIN, PING, Seen, Tab, frame},
};

/// Settings in which only the server's own decision ends a connection within the test's patience.
fn patient(config: Config) -> Config {
    Config {
        close_timeout: Span(Duration::from_mins(5)),
        ..config
    }
}

#[tokio::test]
async fn the_tcp_stream_ends_once_both_close_frames_are_there() {
    let services = services().await;
    let first_close = 1000_u16.to_be_bytes();
    let cases = [
        ("server first", frame(FIN | BINARY, b"x"), Some(1003)),
        ("tab first", frame(FIN | CLOSE, &first_close), Some(1000)),
        (
            "tab first, with a ping before",
            [frame(FIN | PING, b"x"), frame(FIN | CLOSE, &first_close)].concat(),
            Some(1000),
        ),
        ("protocol error", frame(FIN | 3, b"x"), Some(1002)),
    ];

    with_server(patient(config(&services)), async |address| {
        for (name, sent, code) in cases {
            let mut tab = Tab::open(address, &token(&services, "ada")).await;

            tab.send(&sent).await;

            let mut closed = None;
            loop {
                match tab.seen().await {
                    Seen::Close(code) => {
                        closed = Some(code);
                        if name != "tab first" {
                            tab.send(&frame(FIN | CLOSE, &code.to_be_bytes())).await;
                        }
                    }
                    Seen::End => break,
                    Seen::Text(_) | Seen::Pong(_) => {}
                }
            }
            assert_eq!(closed, code, "{name}");
        }
    })
    .await;
}
