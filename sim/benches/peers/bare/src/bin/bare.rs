//! The bare tokio-tungstenite client: a loop with nothing around it, what the library and the machine give at most.
//!
//! - `bare echo --port PORT [--connections 100] [--seconds 5]`: closed loop, round trips per second
//! - `bare idle --port PORT [--connections 1000] [--seconds 5]`: resident KiB per idle connection
//! - `bare open --port PORT [--seconds 5] [--sources 4] [--at-once 64]`: connections opened per second
//! - `bare rate --port PORT [--rate 2000] [--connections 100] [--seconds 5]`: messages at a fixed rate: processor
//!   seconds per 1,000 messages, and the response times counted from when each message was due
//!
//! Each prints one line of `name=value` pairs.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bare::{Failure, Options, raise_descriptor_limit, runtime, small_buffers};
use futures_util::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use nix::sys::time::TimeValLike as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// The message that every tool sends: a JSON text of 64 bytes.
const TEXT: &str = r#"{"text":"01234567890123456789012345678901234567890123456789012"}"#;
const _: () = assert!(TEXT.len() == 64);

type Socket = WebSocketStream<TcpStream>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let known = ["port", "connections", "seconds", "sources", "at-once", "rate"];
    let options = Options::read(arguments, &known)?;
    raise_descriptor_limit()?;
    let port: u16 = options.number("port", 0)?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let seconds = Duration::from_secs(options.number("seconds", 5)?);
    let connections = |default| options.number("connections", default);
    runtime()?.block_on(async {
        match mode.as_str() {
            "echo" => echo(server, connections(100)?, seconds).await,
            "idle" => idle(server, connections(1000)?, seconds).await,
            "open" => {
                open(
                    server,
                    options.number("sources", 4)?,
                    options.number("at-once", 64)?,
                    seconds,
                )
                .await
            }
            "rate" => rate(server, options.number("rate", 2000)?, connections(100)?, seconds).await,
            _ => Err("bare echo|idle|open|rate --port PORT ...".into()),
        }
    })
}

/// Connects from a source address; its port is chosen only as the connection is made, so that the ports of one source
/// address are not used up by the connections to other servers.
async fn connect(server: SocketAddr, source: Option<Ipv4Addr>) -> Result<Socket, Failure> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = source {
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::from((source, 0)))?;
    }
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{server}/");
    Ok(
        tokio_tungstenite::client_async_with_config(url, stream, Some(small_buffers()))
            .await?
            .0,
    )
}

/// Opens that many connections, 64 at once.
async fn connect_all(server: SocketAddr, count: u32) -> Result<Vec<Socket>, Failure> {
    let mut sockets = Vec::new();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        if opening.len() == 64 {
            sockets.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        opening.spawn(connect(server, None));
    }
    while let Some(socket) = opening.join_next().await {
        sockets.push(socket??);
    }
    Ok(sockets)
}

async fn echo(server: SocketAddr, connections: u32, length: Duration) -> Result<(), Failure> {
    let text = Utf8Bytes::from_static(TEXT);
    let sockets = connect_all(server, connections).await?;
    let start = Instant::now();
    let mut loops = JoinSet::new();
    for mut socket in sockets {
        let text = text.clone();
        loops.spawn(async move {
            let mut trips = 0_u64;
            while start.elapsed() < length {
                socket.send(Message::Text(text.clone())).await?;
                socket.next().await.ok_or("the server closed a connection")??;
                trips += 1;
            }
            Ok::<_, Failure>(trips)
        });
    }
    let mut trips = 0;
    while let Some(done) = loops.join_next().await {
        trips += done??;
    }
    println!("trips_per_second={:.0}", per_second(trips, start.elapsed()));
    Ok(())
}

async fn idle(server: SocketAddr, connections: u32, length: Duration) -> Result<(), Failure> {
    let before = resident_kib()?;
    let mut readers = JoinSet::new();
    for mut socket in connect_all(server, connections).await? {
        readers.spawn(async move { socket.next().await.is_some() });
    }
    if timeout(length, readers.join_next()).await.is_ok() {
        return Err("a connection did not stay open".into());
    }
    let after = resident_kib()?;
    let grown = after.saturating_sub(before);
    println!(
        "connections={connections} before_kib={before} after_kib={after} kib_per_connection={:.2}",
        as_f64(grown) / f64::from(connections)
    );
    Ok(())
}

async fn open(server: SocketAddr, sources: u8, at_once: u32, length: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    let mut loops = JoinSet::new();
    for opener in 0..at_once {
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + opener % u32::from(sources.max(1)));
        loops.spawn(async move {
            let mut opened = 0_u64;
            while start.elapsed() < length {
                drop(connect(server, Some(source)).await?);
                opened += 1;
            }
            Ok::<_, Failure>(opened)
        });
    }
    let mut opened = 0;
    while let Some(done) = loops.join_next().await {
        opened += done??;
    }
    println!("opens_per_second={:.0}", per_second(opened, start.elapsed()));
    Ok(())
}

async fn rate(server: SocketAddr, rate: u32, connections: u32, length: Duration) -> Result<(), Failure> {
    if rate == 0 || connections == 0 {
        return Err("--rate and --connections must be above 0".into());
    }
    let sockets = connect_all(server, connections).await?;
    let gap = Duration::from_secs(connections.into()) / rate;
    let used = processor_time()?;
    let start = Instant::now();
    let mut loops = JoinSet::new();
    for (place, socket) in (0..connections).zip(sockets) {
        loops.spawn(send_at_rate(
            socket,
            start + gap * place / connections,
            gap,
            start + length,
        ));
    }
    let mut times = new_histogram()?;
    while let Some(done) = timeout(length + Duration::from_secs(10), loops.join_next()).await? {
        times.add(done??)?;
    }
    let used = processor_time()?.saturating_sub(used);
    let messages = times.len();
    println!(
        "messages_per_second={:.0} cpu_seconds_per_1000={:.4} p50_ms={:.1} p95_ms={:.1} p99_ms={:.1} p999_ms={:.1}",
        per_second(messages, length),
        used.as_secs_f64() * 1000.0 / as_f64(messages),
        millis(&times, 0.5),
        millis(&times, 0.95),
        millis(&times, 0.99),
        millis(&times, 0.999),
    );
    Ok(())
}

/// Sends a message whenever one is due, whether or not the echo of the last one is there.
async fn send_at_rate(
    mut socket: Socket,
    mut due: Instant,
    gap: Duration,
    end: Instant,
) -> Result<Histogram<u64>, Failure> {
    let text = Utf8Bytes::from_static(TEXT);
    let mut times = new_histogram()?;
    let mut waiting = VecDeque::new();
    while due < end || !waiting.is_empty() {
        tokio::select! {
            () = sleep_until(due), if due < end => {
                waiting.push_back(due);
                due += gap;
                socket.send(Message::Text(text.clone())).await?;
            }
            answer = socket.next() => {
                answer.ok_or("the server closed a connection")??;
                let sent = waiting.pop_front().ok_or("an answer to nothing")?;
                times.record(u64::try_from(sent.elapsed().as_micros())?)?;
            }
        }
    }
    Ok(times)
}

/// Response times in microseconds, up to a minute.
fn new_histogram() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_max(60_000_000, 3)?)
}

fn millis(times: &Histogram<u64>, quantile: f64) -> f64 {
    as_f64(times.value_at_quantile(quantile)) / 1000.0
}

fn per_second(count: u64, time: Duration) -> f64 {
    as_f64(count) / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "the counts here are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// User and system time of this process.
fn processor_time() -> Result<Duration, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// `VmRSS` of this process.
fn resident_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
