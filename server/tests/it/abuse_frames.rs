//! Frames that break the WebSocket protocol, or a bound: each meets its close frame, never a mere end.

use crate::{
    abuse::{Expected, Row},
    services::{config, services, token},
    support::with_server,
    wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, Seen, TEXT, Tab, announced, frame},
};

/// A bit that no extension was agreed on for.
const RESERVED: u8 = 0x40;
/// The largest message (PROTOCOL A2).
const MESSAGE_BYTES: usize = 64 << 10;

pub(crate) const FRAMES: &[Row<Vec<u8>>] = &[
    (
        "text that is no UTF-8",
        || frame(FIN | TEXT, b"\xff\xfe"),
        Expected::Close(1007),
    ),
    (
        "text that is no UTF-8, found in its second fragment",
        || [frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"(")].concat(),
        Expected::Close(1007),
    ),
    (
        "text that ends inside a character",
        || frame(FIN | TEXT, b"\xe2\x82"),
        Expected::Close(1007),
    ),
    (
        "reserved bit",
        || frame(FIN | RESERVED | TEXT, b"{}"),
        Expected::Close(1002),
    ),
    (
        "reserved opcode 3",
        || frame(FIN | 0x3, b"{}"),
        Expected::Close(1002),
    ),
    (
        "reserved control opcode 11",
        || frame(FIN | 0xb, b""),
        Expected::Close(1002),
    ),
    (
        "unmasked text",
        || vec![FIN | TEXT, 2, b'{', b'}'],
        Expected::Close(1002),
    ),
    ("fragmented ping", || frame(PING, b"a"), Expected::Close(1002)),
    (
        "ping of 126 bytes",
        || frame(FIN | PING, &[b'a'; 126]),
        Expected::Close(1002),
    ),
    (
        "continuation of nothing",
        || frame(FIN | CONTINUATION, b"a"),
        Expected::Close(1002),
    ),
    (
        "text inside a fragmented text",
        || [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(),
        Expected::Close(1002),
    ),
    (
        "close frame of 1 byte",
        || frame(FIN | CLOSE, b"\x03"),
        Expected::Close(1002),
    ),
    (
        "close frame with code 1005",
        || frame(FIN | CLOSE, b"\x03\xed"),
        Expected::Close(1002),
    ),
    (
        "close frame whose reason is no UTF-8",
        || frame(FIN | CLOSE, b"\x03\xe8\xff"),
        Expected::Close(1007),
    ),
    ("binary", || frame(FIN | BINARY, b"{}"), Expected::Close(1003)),
    (
        "text of 64 KiB and a byte announced, nothing of it sent",
        || announced(FIN | TEXT, MESSAGE_BYTES as u64 + 1),
        Expected::Close(1009),
    ),
    (
        "text of 1 TiB announced",
        || announced(FIN | TEXT, 1 << 40),
        Expected::Close(1009),
    ),
    (
        "text of 2^64 − 1 bytes announced",
        || announced(FIN | TEXT, u64::MAX),
        Expected::Close(1009),
    ),
    (
        "text of 64 KiB and a byte in two fragments",
        || {
            [
                frame(TEXT, &[b'a'; MESSAGE_BYTES]),
                frame(FIN | CONTINUATION, b"a"),
            ]
            .concat()
        },
        Expected::Close(1009),
    ),
];

#[tokio::test]
async fn each_frame_meets_its_close_code() {
    let services = services().await;
    let token = token(&services, "ada");
    with_server(config(&services), async |address| {
        for (request, bytes, expected) in FRAMES {
            let mut tab = Tab::open(address, &token).await;

            tab.send(&bytes()).await;

            let Expected::Close(code) = expected else {
                panic!("{request}: no frame here is a command")
            };
            assert_eq!(tab.seen().await, Seen::Close(*code), "{request}");
        }
    })
    .await;
}

#[tokio::test]
async fn endless_fragments_are_ended_at_the_bound() {
    const FRAGMENT: usize = 1024;
    let services = services().await;
    let token = token(&services, "ada");
    with_server(config(&services), async |address| {
        let mut tab = Tab::open(address, &token).await;
        let mut sent = 0;
        let mut first = TEXT;

        // A ping may stand between fragments: its answer says that all before it was taken in.
        let seen = loop {
            tab.send(&frame(first, &[b'a'; FRAGMENT])).await;
            tab.send(&frame(FIN | PING, b"")).await;
            (first, sent) = (CONTINUATION, sent + FRAGMENT);
            match tab.seen().await {
                Seen::Pong(0) => {}
                seen => break seen,
            }
        };

        assert_eq!(seen, Seen::Close(1009));
        assert!(
            (MESSAGE_BYTES..=MESSAGE_BYTES + FRAGMENT).contains(&sent),
            "{sent}"
        );
    })
    .await;
}
