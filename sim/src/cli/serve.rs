//! `polytab serve`: the reference server with its mocks, to look at and to point other tools at.

use std::{future::Future, io, io::Write, net::Ipv4Addr};

use anyhow::Context;
use polytab_mocks::{
    settings::Settings,
    standalone::{HANDSHAKE, Standalone},
    start::origin,
};
use polytab_seams::{Seams, tls::listen::TlsListen};
use polytab_server::{Config, ENV_PREFIX, Server};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Exit, complain,
    mock::{SharedArguments, refused, runtime},
    plan::MessageFormat,
    tell,
};

/// Where the server and the mocks listen.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArguments {
    /// Port of the reference server; 0 takes a free one
    #[arg(long, default_value_t = 8080, env = "POLYTAB_SERVE_PORT")]
    port: u16,
    /// One setting of the server, as `--set short_loop=1s`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Start no mocks: `--set` says where Keycloak, the backend services and GitLab are
    #[arg(long)]
    no_mocks: bool,
    #[command(flatten)]
    shared: SharedArguments,
}

pub(super) fn serve(arguments: &ServeArguments) -> anyhow::Result<Exit> {
    match arguments.shared.settings() {
        Ok(settings) => runtime()?.block_on(start(arguments, settings)),
        Err(exit) => Ok(exit),
    }
}

async fn start(arguments: &ServeArguments, settings: Settings) -> anyhow::Result<Exit> {
    let host = settings.listen.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let listener = TcpListener::bind((host, arguments.port))
        .await
        .with_context(|| format!("cannot listen on {host}:{}", arguments.port))?;
    let public = match origin(&settings, listener.local_addr()?.port()) {
        Ok(public) => Url::parse(&public)?,
        Err(error) => return Ok(refused(error)),
    };
    if arguments.no_mocks {
        return alone(arguments, listener, &public).await;
    }
    with_mocks(arguments, settings, listener, &public).await
}

/// The server alone: its settings say where its services are.
async fn alone(arguments: &ServeArguments, listener: TcpListener, public: &Url) -> anyhow::Result<Exit> {
    let config = match config(vec![("public_url", public.to_string())], &arguments.settings) {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let line = ready(arguments, (public, &config), None)?;
    let server = Server::new(config, Seams::system());
    run((server, listener), None, &line).await
}

async fn with_mocks(
    arguments: &ServeArguments,
    mut settings: Settings,
    listener: TcpListener,
    public: &Url,
) -> anyhow::Result<Exit> {
    // The server asks all of them.
    settings.mocks = None;
    let uris = settings.redirect_uris.get_or_insert_default();
    uris.push(format!("{public}*"));
    settings.backchannel_logout_url = Some(public.join("/auth/backchannel-logout")?);
    let mocks = match Standalone::bind(&settings).await {
        Ok(mocks) => mocks,
        Err(error) => return Ok(refused(error)),
    };
    for note in mocks.notes() {
        tell(&format!("note: {note}"));
    }
    let [keycloak, backend, gitlab] = mocks.settings();
    let own = vec![
        ("public_url", public.to_string()),
        ("oidc_issuer", keycloak),
        ("oidc_client_secret", mocks.client_secret().to_owned()),
        ("backend_url", backend),
        ("gitlab_url", gitlab),
        ("debug_channels", "true".to_owned()),
    ];
    let config = match config(own, &arguments.settings) {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let line = ready(arguments, (public, &config), Some(&mocks))?;
    let seams = Seams {
        dial: mocks.dial(),
        ..Seams::system()
    };
    let server = Server::new(config, seams);
    run((server, listener), Some(mocks), &line).await
}

/// The line that says that everything is ready.
fn ready(
    arguments: &ServeArguments,
    (public, config): (&Url, &Config),
    mocks: Option<&Standalone>,
) -> anyhow::Result<String> {
    let scheme = if public.scheme() == "https" { "wss" } else { "ws" };
    let tabs = format!("{scheme}://{}{}", public.authority(), config.path);
    Ok(match arguments.shared.message_format {
        MessageFormat::Human => {
            let mocks = mocks.map_or_else(String::new, |mocks| mocks.ready_line() + "\n");
            let login = public.join("/auth/login")?;
            format!("{mocks}ready: server {public}, tabs {tabs}, sign in at {login}")
        }
        MessageFormat::Json => {
            let mut line = mocks.map_or_else(|| json!({ "type": "ready" }), Standalone::ready_json);
            line["server"] = json!(public);
            line["tabs"] = json!(tabs);
            line.to_string()
        }
    })
}

/// Says that everything is ready, and serves until it is to stop.
async fn run(
    (server, listener): (Server, TcpListener),
    mocks: Option<Standalone>,
    ready: &str,
) -> anyhow::Result<Exit> {
    let asked = asked_to_stop()?;
    writeln!(io::stdout(), "{ready}")?;
    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let identity = mocks.as_ref().and_then(|mocks| mocks.identity().cloned());
    let serving = async {
        match identity {
            Some(identity) => {
                let listener = TlsListen::new(listener, &identity, HANDSHAKE);
                server.serve(listener, stop.clone()).await
            }
            None => server.serve(listener, stop.clone()).await,
        };
        end.cancel();
    };
    let beside = async {
        if let Some(mocks) = mocks {
            mocks.serve(end.clone()).await;
        }
    };
    let all = async { tokio::join!(serving, beside) };
    tokio::pin!(all);
    tokio::select! {
        biased;
        () = asked => {}
        _ = &mut all => return Ok(Exit::Passed),
    }
    tell("draining; ask again to stop at once");
    stop.cancel();
    let again = asked_to_stop()?;
    tokio::select! {
        biased;
        () = again => {}
        _ = &mut all => {}
    }
    Ok(Exit::Passed)
}

fn config(own: Vec<(&str, String)>, settings: &[String]) -> anyhow::Result<Config> {
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
    // The terminal, or the connection to it, is gone.
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
