//! A WebSocket echo server on one thread, the same for every tool that is measured.
//!
//! `echo [--port 0] [--addresses 1] [--counts 0] [--stall-every 2s --stall 200ms]`
//!
//! It listens on 127.0.0.1, and with `--addresses 4` on the same port of 127.0.0.2, 127.0.0.3 and 127.0.0.4 as well.
//! `--counts PORT` opens a second port: whoever connects to it gets one line, `OPEN OPENED MESSAGES`: connections
//! that are open, connections opened so far, messages echoed so far. With a stall the thread sleeps that long at that
//! interval, and the whole server with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bare::{Failure, Options, raise_descriptor_limit, runtime, small_buffers};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

static OPEN: AtomicU64 = AtomicU64::new(0);
static OPENED: AtomicU64 = AtomicU64::new(0);
static MESSAGES: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Failure> {
    let options = Options::read(
        std::env::args().skip(1),
        &["port", "addresses", "counts", "stall-every", "stall"],
    )?;
    raise_descriptor_limit()?;
    runtime()?.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    let mut clients = listen_on_all(options.number("addresses", 1)?, options.number("port", 0)?)?;
    let first = clients.swap_remove(0);
    let address = first.local_addr()?;
    for other in clients {
        tasks.spawn(accept(other));
    }
    println!("listening on {address}");
    if options.text("counts").is_some() {
        let readers = listen(1, options.number("counts", 0)?)?;
        println!("counts on {}", readers.local_addr()?);
        tasks.spawn(tell_counts(readers));
    }
    if let (Some(every), Some(length)) = (options.time("stall-every")?, options.time("stall")?) {
        tasks.spawn(stall(every, length));
    }
    accept(first).await;
    Ok(())
}

/// Accepts connections, for as long as the server lives.
async fn accept(clients: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            client = clients.accept() => match client {
                Ok((stream, _)) => {
                    connections.spawn(echo(stream));
                }
                // Out of descriptors, for one: it goes on as connections end.
                Err(error) => {
                    eprintln!("accept: {error}");
                    sleep(Duration::from_millis(10)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Listens on the same port of so many addresses. A port that is free on the first can be in use on another, by a client
/// of an earlier measure.
fn listen_on_all(addresses: u8, port: u16) -> Result<Vec<TcpListener>, Failure> {
    let mut tries = 0;
    loop {
        let first = listen(1, port)?;
        let port_of_all = first.local_addr()?.port();
        let others = (2..=addresses.max(1)).map(|last| listen(last, port_of_all));
        match std::iter::once(Ok(first)).chain(others).collect() {
            Err(_) if port == 0 && tries < 1000 => tries += 1,
            listeners => return listeners,
        }
    }
}

fn listen(last: u8, port: u16) -> Result<TcpListener, Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port)))?;
    Ok(socket.listen(4096)?)
}

async fn echo(stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(small_buffers())).await
    else {
        return;
    };
    OPEN.fetch_add(1, Relaxed);
    OPENED.fetch_add(1, Relaxed);
    // Pings and close frames are answered by the library.
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            MESSAGES.fetch_add(1, Relaxed);
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    OPEN.fetch_sub(1, Relaxed);
}

async fn tell_counts(readers: TcpListener) {
    while let Ok((mut reader, _)) = readers.accept().await {
        let line = format!(
            "{} {} {}\n",
            OPEN.load(Relaxed),
            OPENED.load(Relaxed),
            MESSAGES.load(Relaxed)
        );
        // A reader that has gone away needs no answer.
        drop(reader.write_all(line.as_bytes()).await);
    }
}

async fn stall(every: Duration, length: Duration) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        std::thread::sleep(length);
    }
}
