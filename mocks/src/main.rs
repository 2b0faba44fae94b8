//! The mocks as a process: parses, starts, and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser;
use polytab_mocks::standalone::{Options, Standalone};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code when the surroundings do not allow a start.
const ENVIRONMENT: u8 = 6;

/// Mock Keycloak, backend services and GitLab over one world, with a control API.
///
/// Prints one line when ready. Ends on SIGINT and SIGTERM.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The line when ready as JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process waits for this line"
)]
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mocks = Standalone::bind(&arguments.options).await?;
    let line = if arguments.json {
        mocks.ready_json()
    } else {
        mocks.ready_line()
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    println!("{line}");
    let stop = CancellationToken::new();
    let serving = mocks.serve(stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        _ = terminate.recv() => stop.cancel(),
        _ = interrupt.recv() => stop.cancel(),
    }
    serving.await;
    Ok(())
}
