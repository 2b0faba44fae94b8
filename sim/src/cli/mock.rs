//! `polytab mock`: the mocks alone.

use std::io::Write;

use polytab_mocks::standalone::{Options, Standalone};
use tokio_util::sync::CancellationToken;

use super::{Exit, plan::MessageFormat};

/// Where the mocks listen.
#[derive(Debug, clap::Args)]
pub(super) struct MockArguments {
    #[command(flatten)]
    options: Options,
    /// Form of the line that says that the mocks are ready
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    message_format: MessageFormat,
}

pub(super) fn mock(arguments: &MockArguments) -> anyhow::Result<Exit> {
    runtime()?.block_on(async {
        let mocks = Standalone::bind(&arguments.options).await?;
        let line = match arguments.message_format {
            MessageFormat::Human => mocks.ready_line(),
            MessageFormat::Json => mocks.ready_json(),
        };
        let stop = CancellationToken::new();
        let asked = super::serve::asked_to_stop()?;
        writeln!(std::io::stdout(), "{line}")?;
        let serving = mocks.serve(stop.clone());
        tokio::pin!(serving);
        tokio::select! {
            biased;
            () = asked => stop.cancel(),
            () = &mut serving => {}
        }
        serving.await;
        Ok(Exit::Passed)
    })
}

/// A runtime for processes that serve.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
