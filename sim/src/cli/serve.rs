//! `polytab serve`: the reference server with its mocks, to look at and to point other tools at.

use std::{future::Future, io, io::Write};

use anyhow::Context;
use polytab_mocks::standalone::{Options, Standalone};
use polytab_seams::Seams;
use polytab_server::{Config, ENV_PREFIX, Server};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Exit, complain, mock::runtime, plan::MessageFormat};

/// Where the server and the mocks listen.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArguments {
    /// Port of the reference server; 0 takes a free one
    #[arg(long, default_value_t = 8080, env = "POLYTAB_SERVE_PORT")]
    port: u16,
    /// One setting of the server, as `--set short_loop=1s`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    mocks: Options,
    /// Form of the line that says that everything is ready
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    message_format: MessageFormat,
}

pub(super) fn serve(arguments: &ServeArguments) -> anyhow::Result<Exit> {
    runtime()?.block_on(start(arguments))
}

async fn start(arguments: &ServeArguments) -> anyhow::Result<Exit> {
    let host = arguments.mocks.listen;
    let listener = TcpListener::bind((host, arguments.port))
        .await
        .with_context(|| format!("cannot listen on {host}:{}", arguments.port))?;
    let public = Url::parse(&format!("http://{}", listener.local_addr()?))?;
    let mut options = arguments.mocks.clone();
    options.redirect_uris.push(format!("{public}*"));
    options.backchannel_logout_url = Some(public.join("/auth/backchannel-logout")?);
    let mocks = Standalone::bind(&options).await?;
    let config = match config(&mocks, &public, &arguments.settings) {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let path = config.path.clone();
    let asked = asked_to_stop()?;
    let line = match arguments.message_format {
        MessageFormat::Human => format!(
            "{}\nready: server {public}, tabs ws://{}{path}, sign in at {}",
            mocks.ready_line(),
            public.authority(),
            public.join("/auth/login")?,
        ),
        MessageFormat::Json => {
            let mut line: Value = serde_json::from_str(&mocks.ready_json())?;
            line["server"] = json!(public);
            line["tabs"] = json!(format!("ws://{}{path}", public.authority()));
            line.to_string()
        }
    };
    writeln!(io::stdout(), "{line}")?;
    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let server = Server::new(config, Seams::system());
    let serving = async {
        server.serve(listener, stop.clone()).await;
        end.cancel();
    };
    let all = async { tokio::join!(serving, mocks.serve(end.clone())) };
    tokio::pin!(all);
    tokio::select! {
        biased;
        () = asked => {}
        _ = &mut all => return Ok(Exit::Passed),
    }
    super::tell("draining; ask again to stop at once");
    stop.cancel();
    let again = asked_to_stop()?;
    tokio::select! {
        biased;
        () = again => {}
        _ = &mut all => {}
    }
    Ok(Exit::Passed)
}

fn config(mocks: &Standalone, public: &Url, settings: &[String]) -> anyhow::Result<Config> {
    let [keycloak, backend, gitlab] = mocks.settings();
    let own = [
        ("public_url", public.to_string()),
        ("oidc_issuer", keycloak),
        ("oidc_client_secret", mocks.client_secret().to_owned()),
        ("backend_url", backend),
        ("gitlab_url", gitlab),
        ("debug_channels", "true".to_owned()),
    ];
    let mut values: Vec<_> = own
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .with_context(|| format!("`--set {setting}` is not of the form `--set KEY=VALUE`"))?;
        values.push((key.to_owned(), value.to_owned()));
    }
    let env = std::env::vars().filter(|(name, _)| name.starts_with(ENV_PREFIX));
    Ok(Config::load(None, env, values.into_iter())?)
}

/// Ends when a person or a supervisor wants the process to stop.
///
/// # Errors
///
/// When the process cannot listen to signals.
pub(super) fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
