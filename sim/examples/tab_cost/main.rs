//! What tabs cost: resident memory, processor time of a notification and of an answered `ping`, of the reference server
//! and of two that do the least there is to do. `sim/benches/cost/run` builds and starts all of it; its README says what
//! is measured, and how.

mod measure;
mod mocks;
mod process;
mod server;
mod table;
mod tabs;

use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use crate::{
    measure::Figures,
    process::Process,
    server::{Kind, Server},
};

/// Measures what tabs cost, the servers one after the other.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// How often each server is measured; the medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// In each round, windows with notifications, and as many with pings
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    windows: u32,
    /// Users
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// Tabs of each user
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    tabs_each: u32,
    /// The servers to measure
    #[arg(long, value_delimiter = ',', default_value = "polytab,axum,node")]
    servers: Vec<Kind>,
    /// The core that they are pinned to
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// After the last tab, until memory and loops have settled, in seconds
    #[arg(long, default_value_t = 20)]
    settle_s: u64,
}

impl Arguments {
    fn settle(&self) -> Duration {
        Duration::from_secs(self.settle_s)
    }

    fn tab_count(&self) -> u32 {
        self.users * self.tabs_each
    }
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is what it is for, and it takes half an hour"
)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut results: Vec<(Kind, Vec<Figures>)> =
        arguments.servers.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 1..=arguments.rounds {
        for (kind, figures) in &mut results {
            let measured = round_of(*kind, &arguments)
                .await
                .with_context(|| format!("no measure of {}", kind.name()))?;
            eprintln!("round {round}, {}: {measured}", kind.name());
            figures.push(measured);
        }
    }
    table::check_sizes(&results)?;
    print!("{}", table::markdown(&results, &arguments));
    Ok(())
}

/// One server, from its start to its end.
async fn round_of(kind: Kind, arguments: &Arguments) -> anyhow::Result<Figures> {
    let _awake = Process::keep_awake(arguments.core)?;
    let server = Server::start(kind, arguments).await?;
    measure::measure(&server, arguments).await
}
