//! What settings may say, and what is said of those that may not.

use serde_json::json;

use super::*;

fn load(env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let own = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    Config::load(None, own(env).into_iter(), own(flags).into_iter()).map_err(|error| error.to_string())
}

#[test]
fn flags_win_over_the_environment() {
    let config = load(
        &[
            ("POLYTAB_SERVER_SHORT_LOOP", "1s"),
            ("POLYTAB_SERVER_VERSION", "1234567"),
            ("HOME", "/"),
        ],
        &[
            ("short_loop", "250ms"),
            ("allowed_origins", "http://a.example, http://b.example"),
            ("trusted_proxies", "10.0.0.0/8, ::1"),
        ],
    )
    .unwrap();

    assert_eq!(config.short_loop.0, Duration::from_millis(250));
    assert_eq!(config.version.as_deref(), Some("1234567"));
    assert_eq!(config.allowed_origins.len(), 2);
    assert!(config.trusted_proxies[1].contains("::1".parse().unwrap()));
}

#[test]
fn a_bad_setting_is_named_with_the_mend() {
    for (key, value, error) in [
        (
            "short_lop",
            "5s",
            "no setting is called `short_lop`; did you mean `short_loop`?",
        ),
        (
            "short_loop",
            "5",
            "setting `short_loop`: `5` is not a duration with its unit, as `250ms` or `5s`",
        ),
        ("short_loop", "0s", "setting `short_loop`: must be more than 0"),
        (
            "outbox_messages",
            "0",
            "setting `outbox_messages`: must be at least 1",
        ),
        (
            "header_bytes",
            "100",
            "setting `header_bytes`: must be at least 8192",
        ),
        (
            "drain_close_code",
            "99",
            "setting `drain_close_code`: is a close code, from 1000 to 4999",
        ),
        (
            "gitlab_url",
            "ftp://x",
            "setting `gitlab_url`: is an `http` or `https` URL",
        ),
        (
            "event_bytes",
            "262144",
            "setting `event_bytes`: must be at least 4096 below `outbox_bytes`",
        ),
        ("path", "ws", "setting `path`: begins with `/`"),
        ("handshakes", "0", "setting `handshakes`: must be at least 1"),
    ] {
        assert_eq!(load(&[], &[(key, value)]).unwrap_err(), error);
    }
    for (key, value, start) in [
        ("outbox_messages", "many", "setting `outbox_messages`: "),
        (
            "trusted_proxies",
            "10.0.0.0/99",
            "setting `trusted_proxies`: `10.0.0.0/99` is neither a network nor an address",
        ),
        (
            "forwarded_header",
            "x-real-ip",
            "setting `forwarded_header`: unknown variant `x-real-ip`, expected `x-forwarded-for` or `forwarded`",
        ),
    ] {
        let error = load(&[], &[(key, value)]).unwrap_err();
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn what_https_needs_goes_together() {
    let https = ("public_url", "https://a.example");
    let (certificate, key) = (("tls_certificate", "/c.pem"), ("tls_key", "/k.pem"));
    let host = ("session_cookie", "__Host-session");
    for (flags, error) in [
        (
            &[certificate][..],
            "setting `tls_key`: is needed with `tls_certificate`",
        ),
        (&[key], "setting `tls_certificate`: is needed with `tls_key`"),
        (
            &[certificate, key],
            "setting `public_url`: `http://127.0.0.1:8080/` begins with `https://` when `tls_certificate` is set",
        ),
        (
            &[host],
            "setting `session_cookie`: browsers take a cookie `__Host-…` over https only, and `public_url` is \
             `http://127.0.0.1:8080/`; change one of the two",
        ),
        (
            &[("session_cookie", "__secure-a")],
            "setting `session_cookie`: browsers take a cookie `__Secure-…` over https only, and `public_url` is \
             `http://127.0.0.1:8080/`; change one of the two",
        ),
        (
            &[("session_cookie", "a b")],
            "setting `session_cookie`: `a b` is no name of a cookie: letters, digits, `-` and `_` are",
        ),
    ] {
        assert_eq!(load(&[], flags).unwrap_err(), error);
    }
    assert!(load(&[], &[https, certificate, key, host]).is_ok());
    assert!(load(&[], &[https]).is_ok());
}

#[test]
fn scaling_shortens_waits_and_leaves_token_times_alone() {
    let values = BTreeMap::from([("short_loop".to_owned(), json!("5s"))]);

    let config = Config::from_values(&values).unwrap().scaled(10);

    assert_eq!(config.short_loop.0, Duration::from_millis(500));
    assert_eq!(config.token_leeway.0, Duration::from_secs(10));
}

#[test]
fn secrets_are_not_shown() {
    let flags = [
        ("oidc_client_secret", "hush"),
        ("redis_url", "rediss://polytab:hush@redis.example:6379/1"),
    ];

    let shown = toml::to_string(&load(&[], &flags).unwrap().masked()).unwrap();

    assert!(!shown.contains("hush"), "{shown}");
    assert!(
        shown.contains("\"rediss://polytab:********@redis.example:6379/1\""),
        "{shown}"
    );
}
