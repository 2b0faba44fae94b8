//! An event stream: cut anywhere, it reads the same, and what is held of it is bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polytab_protocol::event_stream::{Decoder, Item, NAME_BYTES};

/// Small, so that short inputs pass it.
const LIMIT_BYTES: usize = 256;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (cuts, stream) = input;
    let whole = decode(stream.iter().map(std::slice::from_ref));

    let cut = decode(chunks(cuts, stream).into_iter());

    assert_eq!(whole, cut);
    let longest = |item: &Item| match item {
        // A byte that is no UTF-8 becomes three.
        Item::Event(event) => {
            event.data.len() <= 3 * LIMIT_BYTES && event.id.len().max(event.event.len()) <= NAME_BYTES
        }
        Item::TooLong { id } => id.len() <= NAME_BYTES,
        Item::Retry(_) | Item::Comment => true,
    };
    assert!(whole.iter().all(longest));
});

/// What chunks give.
fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Item> {
    let mut decoder = Decoder::new(LIMIT_BYTES);
    chunks.flat_map(|chunk| decoder.push(chunk)).collect()
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
