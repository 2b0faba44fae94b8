//! The mocks as a process: parses, starts, and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser;
use polytab_mocks::{
    settings::{Name, Settings},
    standalone::Standalone,
    start::{Blame, StartError},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of settings that cannot be.
const USAGE: u8 = 2;
/// Exit code of a file that is not what it should be.
const INVALID_FILE: u8 = 3;
/// Exit code when the surroundings do not allow a start.
const ENVIRONMENT: u8 = 6;

/// Mock Keycloak, backend services, gateway and GitLab over one world, with a control API.
///
/// Prints one line when ready. Ends on SIGINT and SIGTERM; at once when asked twice. `polytab mock` is the same, and
/// takes settings from a file as well.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which mocks listen; the control API does in any case (default: all)
    #[arg(value_name = "MOCK", env = "POLYTAB_MOCK_MOCKS", value_delimiter = ',')]
    mocks: Option<Vec<Name>>,
    #[command(flatten)]
    settings: Settings,
    /// The line when ready as JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let blame = error.downcast_ref::<StartError>().map(StartError::blame);
            ExitCode::from(match blame {
                Some(Blame::Settings) => USAGE,
                Some(Blame::File) => INVALID_FILE,
                Some(Blame::Surroundings) | None => ENVIRONMENT,
            })
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process waits for this line"
)]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut settings = arguments.settings;
    settings.mocks = arguments.mocks;
    let mocks = Standalone::bind(&settings).await?;
    for note in mocks.notes() {
        tracing::warn!("{note}");
    }
    let line = if arguments.json {
        mocks.ready_json().to_string()
    } else {
        mocks.ready_line()
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    println!("{line}");
    let stop = CancellationToken::new();
    let serving = mocks.serve(stop.clone());
    tokio::pin!(serving);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = &mut serving => return Ok(()),
        }
        // Who asks twice does not want to wait.
        if stop.is_cancelled() {
            return Ok(());
        }
        stop.cancel();
    }
}
