//! The reference server as a process: parses, starts, and maps the outcome to an exit code.

#[cfg(feature = "otel")]
mod telemetry;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context, ensure};
use clap::Parser;
use futures_util::future::Either;
use polytab_seams::{
    Seams,
    tls::{certificate::Identity, listen::TlsListen},
};
use polytab_server::{Config, ENV_PREFIX, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// Exit code of a bad setting, as of bad usage.
const USAGE: u8 = 2;
/// Exit code when the surroundings do not allow a start.
const ENVIRONMENT: u8 = 6;
/// Descriptors of the runtime, of signals, the listener and the standard streams, and some for connections.
const LEAST_DESCRIPTORS: u64 = 32;

/// The Polytab reference server.
///
/// Settings come from a file, then from the environment (`POLYTAB_SERVER_SHORT_LOOP=5s`), then from --set; what comes
/// later wins. `--print-config` shows all of them with their values. SIGTERM sends the tabs away and ends; SIGHUP reads
/// the certificate again.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A TOML file with settings.
    #[arg(long, env = "POLYTAB_SERVER_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, as `--set listen=127.0.0.1:8080`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print the settings in force, secrets masked, and leave.
    #[arg(long)]
    print_config: bool,
    /// Logs as JSON lines.
    #[arg(long, env = "POLYTAB_SERVER_LOG_JSON")]
    log_json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(not(feature = "otel"))]
    start_logs(arguments.log_json);
    #[cfg(feature = "otel")]
    let _exporting = match telemetry::start(filter(), arguments.log_json) {
        Ok(exporting) => exporting,
        Err(error) => {
            tracing::error!("{error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let config = match settings(&arguments) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error:#}");
            return ExitCode::from(USAGE);
        }
    };
    if arguments.print_config {
        return print(&config.masked());
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

/// How much is logged.
fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into())
}

#[cfg(not(feature = "otel"))]
fn start_logs(json: bool) {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::io::stderr);
    if json { logs.json().init() } else { logs.init() }
}

fn settings(arguments: &Arguments) -> anyhow::Result<Config> {
    let flags: Vec<_> = arguments
        .settings
        .iter()
        .map(|setting| {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("`--set {setting}` is not of the form `--set KEY=VALUE`"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect::<anyhow::Result<_>>()?;
    // These two are settings of the process, not of the server.
    let own = ["CONFIG", "LOG_JSON"].map(|name| format!("{ENV_PREFIX}{name}"));
    // What is no text is of no setting, or is refused as one.
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    let env = env.filter(|(name, _)| !own.contains(name));
    Ok(Config::load(arguments.config.as_deref(), env, flags.into_iter())?)
}

#[expect(clippy::print_stdout, reason = "the settings are what was asked for")]
fn print(config: &Config) -> ExitCode {
    match toml::to_string_pretty(config) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

/// Serves on a runtime of several threads. It cannot be built when descriptors are used up.
fn run(config: Config) -> anyhow::Result<()> {
    let config = fit_descriptors(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let identity = identity(config)?.map(watch::Sender::new);
    let handshake = config.header_timeout.0;
    let listen = config.listen.clone();
    let listener = TcpListener::bind(&listen)
        .await
        .with_context(|| format!("cannot listen on `{listen}`"))?;
    let address = listener.local_addr()?;
    // Whoever reads the line may signal at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    ready(&format!("listening on {address}"));
    let stop = CancellationToken::new();
    let server = Server::new(config.clone(), Seams::system());
    let serving = match &identity {
        Some(identity) => {
            let listener = TlsListen::following(listener, identity.subscribe(), handshake);
            Either::Left(server.serve(listener, stop.clone()))
        }
        None => Either::Right(server.serve(listener, stop.clone())),
    };
    tokio::pin!(serving);
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                renew(config, identity.as_ref());
                continue;
            }
            stopped = &mut serving => {
                if stopped.left > 0 {
                    tracing::warn!(left = stopped.left, "stopped before everything had ended");
                }
                return Ok(());
            }
        }
        // Who asks twice does not want to wait.
        if asked {
            return Ok(());
        }
        asked = true;
        tracing::info!("draining; ask again to stop at once");
        stop.cancel();
    }
}

/// Takes as many descriptors as the system allows, because many systems give a process 1024 unless it asks; lowers the
/// bounds of connections when those are too few.
fn fit_descriptors(config: Config) -> anyhow::Result<Config> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let taken = match setrlimit(Resource::Nofile, all) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // Without a number there is no limit.
    let Some(descriptors) = taken else {
        return Ok(config);
    };
    ensure!(
        descriptors >= LEAST_DESCRIPTORS,
        "the system allows {descriptors} descriptors, and at least {LEAST_DESCRIPTORS} are needed; raise the hard limit \
         (`ulimit -Hn`, `LimitNOFILE`)"
    );
    let wanted = config.connections;
    let config = config.fitted_to(usize::try_from(descriptors).unwrap_or(usize::MAX));
    if config.connections < wanted {
        tracing::warn!(
            descriptors,
            connections = config.connections,
            handshakes = config.handshakes,
            "too few descriptors: `connections` and `handshakes` are lowered to these; raise the hard limit (`ulimit \
             -Hn`, `LimitNOFILE`)"
        );
    }
    Ok(config)
}

/// Who the server is, when it speaks TLS itself.
fn identity(config: &Config) -> anyhow::Result<Option<Identity>> {
    let files = config.tls_certificate.as_deref().zip(config.tls_key.as_deref());
    let identity = files.map(|(certificate, key)| Identity::from_files(certificate, key));
    Ok(identity.transpose()?)
}

/// Reads the certificate again. What cannot be used changes nothing: the one before may still be good.
fn renew(config: &Config, current: Option<&watch::Sender<Identity>>) {
    let Some(current) = current else {
        tracing::info!("nothing to read again: there is no certificate");
        return;
    };
    match identity(config) {
        Ok(Some(identity)) => {
            current.send_replace(identity);
            tracing::info!("the certificate was read again; connections that come from now on meet it");
        }
        Ok(None) => {}
        Err(error) => tracing::error!("the certificate stays as it was: {error:#}"),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process waits for this line"
)]
fn ready(line: &str) {
    println!("{line}");
}
