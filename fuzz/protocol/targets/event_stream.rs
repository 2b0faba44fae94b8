//! An event stream: cut anywhere, it reads the same, and what is held of it is bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polytab_protocol::event_stream::{Decoder, Item, NAME_BYTES};

/// Small, so that short inputs pass it.
const LIMIT_BYTES: usize = 256;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (cuts, stream) = input;
    let (whole, whole_ended) = decode(stream.iter().map(std::slice::from_ref));

    let (cut, cut_ended) = decode(chunks(cuts, stream).into_iter());

    // A chunk with an error in it gives nothing of what came before; otherwise all is the same.
    assert_eq!(whole_ended, cut_ended);
    assert!(whole.starts_with(&cut));
    assert!(cut_ended || whole == cut);
    let longest = |item: &Item| match item {
        // A byte that is no UTF-8 becomes three.
        Item::Event(event) => {
            event.data.len() <= 3 * LIMIT_BYTES && event.id.len().max(event.event.len()) <= NAME_BYTES
        }
        Item::Retry(_) | Item::Comment => true,
    };
    assert!(whole.iter().all(longest));
});

/// What chunks give, and whether they ended in an error.
fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Item>, bool) {
    let mut decoder = Decoder::new(LIMIT_BYTES);
    let mut items = Vec::new();
    for chunk in chunks {
        match decoder.push(chunk) {
            Ok(more) => items.extend(more),
            Err(_) => return (items, true),
        }
    }
    (items, false)
}

/// The stream in pieces of these lengths; the rest in one.
fn chunks<'a>(lengths: &[u8], mut stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for length in lengths {
        let (chunk, rest) = stream.split_at(usize::from(*length).min(stream.len()));
        chunks.push(chunk);
        stream = rest;
    }
    chunks.push(stream);
    chunks
}
