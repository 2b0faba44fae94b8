//! `polytab mock`: the mocks alone.

use std::{io::Write, path::PathBuf};

use clap::builder::FalseyValueParser;
use polytab_mocks::{
    settings::{Name, Settings},
    standalone::Standalone,
    start::{Blame, StartError},
};
use tokio_util::sync::CancellationToken;

use super::{Exit, check::show, complain, plan::MessageFormat, tell};
use crate::scenario::{document, stubs};

/// Which mocks listen, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct MockArguments {
    /// Which mocks listen; the control API does in any case (default: all)
    #[arg(value_name = "MOCK", env = "POLYTAB_MOCK_MOCKS", value_delimiter = ',')]
    mocks: Option<Vec<Name>>,
    /// End with exit code 1 when a fault or stub was met by no call, or a request was taken by no mock
    #[arg(long, env = "POLYTAB_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    /// A file of stubs (YAML or JSON): answers to requests that no route owns; may be repeated
    #[arg(long, value_name = "FILE", env = "POLYTAB_MOCK_STUBS", value_delimiter = ',')]
    stubs: Vec<PathBuf>,
    #[command(flatten)]
    shared: SharedArguments,
}

/// What `mock` and `serve` share.
#[derive(Debug, clap::Args)]
pub(super) struct SharedArguments {
    /// Settings from a YAML or JSON file; `polytab schema mocks` says what may be in it
    #[arg(long, value_name = "FILE", env = "POLYTAB_MOCK_FILE")]
    file: Option<PathBuf>,
    /// Form of the line that says that everything is ready
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    pub(super) message_format: MessageFormat,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  polytab mock                                  all of them, on the ports 7081 to 7085
  polytab mock keycloak gitlab                  two of them, and the control API
  polytab mock --message-format json            one line of JSON when they are ready, for scripts
  polytab mock keycloak --keycloak-port 0       on a free port; the line says which
  polytab mock --listen 0.0.0.0 --public-host mocks
                                                in a container that others reach as `mocks`
  polytab mock --tls-ca-out ca.pem              https, for clients that trust ca.pem
  polytab mock --file mocks.yaml                settings from a file

A flag wins over the environment, the environment over the file. A key of the file is the flag's \
name with `_` for `-`. SIGINT and SIGTERM end the mocks in order; asked twice they end at once.
Exit codes: 0 ended as asked, 1 `--strict` and something was loose, 2 usage, 3 a file is not valid, 6 a port is taken or a file cannot be written.";

pub(super) fn mock(arguments: MockArguments) -> anyhow::Result<Exit> {
    let asked = Settings {
        mocks: arguments.mocks,
        ..Settings::default()
    };
    let settings = match arguments.shared.settings() {
        Ok(settings) => asked.or(settings),
        Err(exit) => return Ok(exit),
    };
    let mut all = Vec::new();
    for path in &arguments.stubs {
        let (stubs, loaded) = stubs::load(path);
        if !loaded.problems.is_empty() {
            return Ok(show(&loaded.problems, 1));
        }
        all.extend(stubs);
    }
    runtime()?.block_on(async {
        let mocks = match Standalone::bind(&settings).await {
            Ok(mocks) => mocks,
            Err(error) => return Ok(refused(error)),
        };
        let line = match arguments.shared.message_format {
            MessageFormat::Human => mocks.ready_line(),
            MessageFormat::Json => mocks.ready_json().to_string(),
        };
        for note in mocks.notes() {
            tell(&format!("note: {note}"));
        }
        let handle = mocks.mocks().clone();
        handle.put_stubs(all)?;
        let asked = super::serve::asked_to_stop()?;
        writeln!(std::io::stdout(), "{line}")?;
        let stop = CancellationToken::new();
        let serving = mocks.serve(stop.clone());
        tokio::pin!(serving, asked);
        tokio::select! {
            biased;
            () = &mut asked => stop.cancel(),
            () = &mut serving => {}
        }
        if stop.is_cancelled() {
            // Who asks twice does not want to wait.
            let again = super::serve::asked_to_stop()?;
            tokio::select! {
                biased;
                () = again => {}
                () = &mut serving => {}
            }
        }
        let loose = handle.loose_ends();
        for end in &loose {
            tell(&format!("note: {end}"));
        }
        let held = loose.is_empty() || !arguments.strict;
        Ok(if held { Exit::Passed } else { Exit::Failed })
    })
}

impl SharedArguments {
    /// Flags, environment and file in one.
    ///
    /// # Errors
    ///
    /// How the process ends, when there is something wrong with the file; that has been told.
    pub(super) fn settings(&self) -> Result<Settings, Exit> {
        let settings = self.settings.clone();
        let Some(path) = &self.file else {
            return Ok(settings);
        };
        let file: Settings = document::load(path).map_err(|problems| show(&problems, 1))?;
        let folder = path.parent().unwrap_or(path);
        Ok(settings.or(file.within(folder)))
    }
}

/// Says why the mocks do not start.
pub(super) fn refused(error: StartError) -> Exit {
    let exit = match error.blame() {
        Blame::Settings => Exit::Usage,
        Blame::File => Exit::InvalidFile,
        Blame::Surroundings => Exit::Environment,
    };
    complain(&format!("{:#}", anyhow::Error::new(error)));
    exit
}

/// A runtime for processes that serve.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
