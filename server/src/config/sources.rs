//! Where settings are given: a file, the environment, flags. Each value keeps its place, for whoever has to mend it.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};
use toml::Spanned;

use super::{Config, ConfigError, ENV_PREFIX};

/// How Kubernetes begins the address of a Service.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// A value, and where it stands.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) value: Value,
    /// As `--set`, for a person.
    pub(super) place: String,
}

/// The settings of a TOML file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Given>, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: shown.clone(),
        source,
    })?;
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    // Without the text of the line, as the library would tell it: a secret may stand there.
    let not_toml = |error: toml::de::Error| {
        let place = error.span().map(|span| format!("line {}: ", line(span.start)));
        ConfigError::Toml {
            path: shown.clone(),
            problem: place.unwrap_or_default() + error.message(),
        }
    };
    let all: BTreeMap<String, Spanned<toml::Value>> = toml::from_str(&text).map_err(not_toml)?;
    let given = |(key, value): (String, Spanned<toml::Value>)| {
        let place = format!("line {} of `{shown}`", line(value.span().start));
        let value = serde_json::to_value(value.into_inner()).map_err(|error| ConfigError::Toml {
            path: shown.clone(),
            problem: error.to_string(),
        })?;
        Ok((key, Given { value, place }))
    };
    all.into_iter().map(given).collect()
}

/// The settings among the variables of the environment.
pub(super) fn environment(
    variables: impl Iterator<Item = (String, String)>,
) -> impl Iterator<Item = (String, Given)> {
    variables.filter_map(|(name, text)| {
        let key = name.strip_prefix(ENV_PREFIX)?.to_lowercase();
        let value = typed(&key, &text);
        let place = format!("`{name}` in the environment");
        (!is_of_a_service(&key, &text)).then_some((key, Given { value, place }))
    })
}

/// Settings as the command line has them.
pub(super) fn flags(pairs: impl Iterator<Item = (String, String)>) -> impl Iterator<Item = (String, Given)> {
    pairs.map(|(key, text)| {
        let value = typed(&key, &text);
        let place = "`--set`".to_owned();
        (key, Given { value, place })
    })
}

/// Whether Kubernetes put this into the environment, which tells each pod where the Services of its namespace are: one
/// is easily called `polytab-server`, and then its variables begin as settings do.
fn is_of_a_service(key: &str, text: &str) -> bool {
    let key = format!("_{key}_");
    let is_address = || {
        let protocol = text.split_once("://").map(|(protocol, _)| protocol);
        protocol.is_some_and(|protocol| PROTOCOLS.contains(&protocol))
    };
    let is_port = |rest: &str| {
        let mut words = rest.split('_');
        words.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && words.next().is_some_and(|word| PROTOCOLS.contains(&word))
    };
    key.ends_with("_service_host_")
        || key.contains("_service_port_")
        || key.ends_with("_port_") && is_address()
        || key.split_once("_port_").is_some_and(|(_, rest)| is_port(rest))
}

/// A text as the type its setting has: `5` is a number for a bound and a text for a version.
fn typed(key: &str, text: &str) -> Value {
    let fits = |value: &Value| {
        let one = Map::from_iter([(key.to_owned(), value.clone())]);
        serde_json::from_value::<Config>(Value::Object(one)).is_ok()
    };
    let plain = Value::String(text.to_owned());
    let parsed = serde_json::from_str(text).ok().filter(fits);
    let list = || Value::Array(text.split(',').map(|item| item.trim().into()).collect());
    let is_list = || serde_json::to_value(Config::default()).is_ok_and(|all| all[key].is_array());
    parsed
        .or_else(|| fits(&plain).then(|| plain.clone()))
        // What is wrong with an entry is told of the entry.
        .or_else(|| is_list().then(list))
        .unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn what_kubernetes_says_of_services_is_no_setting() {
        for (key, text, is_one) in [
            ("service_host", "10.0.0.1", true),
            ("service_port", "7080", true),
            ("service_port_http", "7080", true),
            ("port", "tcp://10.0.0.1:7080", true),
            ("port_7080_tcp", "tcp://10.0.0.1:7080", true),
            ("port_7080_tcp_proto", "tcp", true),
            ("port_7080_tcp_port", "7080", true),
            ("port_7080_udp_addr", "10.0.0.1", true),
            // A Service called `polytab-server-metrics`.
            ("metrics_service_host", "10.0.0.1", true),
            ("metrics_port_9090_tcp", "tcp://10.0.0.1:9090", true),
            // What a person may have meant.
            ("port", "7080", false),
            ("port_7080", "tcp://10.0.0.1:7080", false),
            ("host", "10.0.0.1", false),
        ] {
            assert_eq!(is_of_a_service(key, text), is_one, "{key}");
        }
        let own = keys();
        assert!(
            own.iter().all(|key| !is_of_a_service(key, "tcp://10.0.0.1:7080")),
            "{own:?}"
        );
    }
}
