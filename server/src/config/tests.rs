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

/// A setting, its value, and what is said of it.
const BAD: &[(&str, &str, &str)] = &[
    (
        "short_loop",
        "5",
        "`5` is not a duration with its unit, as `250ms` or `5s`",
    ),
    ("short_loop", "0s", "`0ms` must be more than 0"),
    ("sign_in_life", "999999999h", "`999999999h` is longer than a year"),
    ("outbox_messages", "0", "`0` must be at least 1"),
    ("commands_burst", "0", "`0` must be at least 1"),
    ("handshakes", "0", "`0` must be at least 1"),
    ("header_bytes", "100", "`100` must be at least 8192"),
    ("header_fields", "40000", "`40000` must be at most 32768"),
    (
        "mailbox",
        "18446744073709551615",
        "`18446744073709551615` must be at most 1073741824",
    ),
    (
        "event_bytes",
        "18446744073709551615",
        "`18446744073709551615` must be at most 1073741824",
    ),
    (
        "event_bytes",
        "262144",
        "`262144` must be at least 4096 below `outbox_bytes`, `262144`",
    ),
    (
        "lease",
        "5s",
        "`5000ms` must be longer than `short_loop`, `5000ms`, whose turns renew it",
    ),
    (
        "reconnect_close_code",
        "99",
        "`99` cannot be sent; 1000 to 1003, 1007 to 1014 and 3000 to 4999 can",
    ),
    ("path", "ws", "`ws` must begin with `/`"),
    (
        "gitlab_url",
        "ftp://x",
        "`ftp://x/` is no `http` or `https` URL, as `https://ui.example`",
    ),
    (
        "public_url",
        "localhost:8080",
        "`localhost:8080` is no `http` or `https` URL, as `https://ui.example`",
    ),
    (
        "allowed_origins",
        "https://b.example, https://a.example/app",
        "`https://a.example/app` is no origin: a scheme, a host and perhaps a port are, as `https://a.example`",
    ),
    (
        "allowed_origins",
        "a.example:443",
        "`a.example:443` is no origin: a scheme, a host and perhaps a port are, as `https://ui.example`",
    ),
];

#[test]
fn a_bad_setting_is_named_with_its_place_and_the_mend() {
    for (key, value, problem) in BAD {
        let wanted = format!("setting `{key}` (`--set`): {problem}");
        assert_eq!(load(&[], &[(*key, *value)]).unwrap_err(), wanted);
    }
    for (key, value, start) in [
        ("outbox_messages", "many", ""),
        (
            "trusted_proxies",
            "10.0.0.0/99",
            "`10.0.0.0/99` is neither a network nor an address",
        ),
        (
            "forwarded_header",
            "x-real-ip",
            "unknown variant `x-real-ip`, expected `x-forwarded-for` or `forwarded`",
        ),
    ] {
        let error = load(&[], &[(key, value)]).unwrap_err();
        let start = format!("setting `{key}` (`--set`): {start}");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn only_codes_that_a_close_frame_may_carry_are_taken() {
    let is_taken = |code: u16| load(&[], &[("reconnect_close_code", &code.to_string())]).is_ok();

    for (code, wanted) in [
        (999, false),
        (1000, true),
        (1003, true),
        (1004, false),
        (1006, false),
        (1007, true),
        (1014, true),
        (1015, false),
        (2999, false),
        (3000, true),
        (4999, true),
        (5000, false),
    ] {
        assert_eq!(is_taken(code), wanted, "{code}");
    }
}

#[test]
fn the_websocket_is_at_a_plain_path_where_no_other_page_is() {
    for (path, problem) in [
        ("/ws", None),
        ("/a/b-c_d.e~f/%20", None),
        ("/{", Some("is no plain path")),
        ("/{id}", Some("is no plain path")),
        ("/ws/:id", Some("is no plain path")),
        ("/ws/*rest", Some("is no plain path")),
        ("/ws?a", Some("is no plain path")),
        ("/ws#a", Some("is no plain path")),
        ("/w s", Some("is no plain path")),
        ("/é", Some("is no plain path")),
        ("/", Some("is a page of the server's own")),
        ("/healthz", Some("is a page of the server's own")),
        ("/auth/login", Some("is a page of the server's own")),
        ("/debug/channels", Some("is a page of the server's own")),
    ] {
        let config = load(&[], &[("path", path)]);

        match problem {
            None => {
                let host = crate::host::Host::new(config.unwrap(), polytab_seams::Seams::system());
                drop(crate::http::router(&std::sync::Arc::new(host)));
            }
            Some(problem) => {
                let error = config.unwrap_err();
                let start = format!("setting `path` (`--set`): `{path}` {problem}");
                assert!(error.starts_with(&start), "{error}");
            }
        }
    }
}

#[test]
fn a_refused_setting_names_where_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let shown = file.display();
    for (text, env, flag, wanted) in [
        (
            "listen = \"127.0.0.1:0\"\n\nshort_loop = \"0s\"\n",
            None,
            None,
            format!("setting `short_loop` (line 3 of `{shown}`): `0ms` must be more than 0"),
        ),
        (
            "\nshort_lop = \"5s\"\n",
            None,
            None,
            format!("no setting is called `short_lop` (line 2 of `{shown}`); did you mean `short_loop`?"),
        ),
        (
            "short_loop = \"0s\"",
            Some("0ms"),
            None,
            "setting `short_loop` (`POLYTAB_SERVER_SHORT_LOOP` in the environment): `0ms` must be more than 0"
                .to_owned(),
        ),
        (
            "",
            Some("5s"),
            Some("0s"),
            "setting `short_loop` (`--set`): `0ms` must be more than 0".to_owned(),
        ),
        (
            "tls_key = \"/k.pem\"",
            None,
            None,
            "setting `tls_certificate`: is needed with `tls_key`".to_owned(),
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let own = |name: &str, value: Option<&str>| {
            value.map(|value| (name.to_owned(), value.to_owned())).into_iter()
        };
        let env = own("POLYTAB_SERVER_SHORT_LOOP", env);
        let flag = own("short_loop", flag);

        let error = Config::load(Some(&file), env, flag).unwrap_err();

        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn what_kubernetes_says_of_a_service_of_this_name_is_passed_over() {
    let address = "tcp://10.96.0.1:7080";
    let config = load(
        &[
            ("POLYTAB_SERVER_SERVICE_HOST", "10.96.0.1"),
            ("POLYTAB_SERVER_SERVICE_PORT", "7080"),
            ("POLYTAB_SERVER_SERVICE_PORT_HTTP", "7080"),
            ("POLYTAB_SERVER_PORT", address),
            ("POLYTAB_SERVER_PORT_7080_TCP", address),
            ("POLYTAB_SERVER_PORT_7080_TCP_ADDR", "10.96.0.1"),
            ("POLYTAB_SERVER_SHORT_LOOP", "1s"),
        ],
        &[],
    );

    assert_eq!(config.unwrap().short_loop.0, Duration::from_secs(1));
    let error = load(&[("POLYTAB_SERVER_PORT", "7080")], &[]).unwrap_err();
    assert!(
        error.starts_with("no setting is called `port` (`POLYTAB_SERVER_PORT` in the environment)"),
        "{error}"
    );
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
            "setting `session_cookie` (`--set`): browsers take a cookie `__Host-…` over https only, and `public_url` is \
             `http://127.0.0.1:8080/`; change one of the two",
        ),
        (
            &[("session_cookie", "__secure-a")],
            "setting `session_cookie` (`--set`): browsers take a cookie `__Secure-…` over https only, and `public_url` is \
             `http://127.0.0.1:8080/`; change one of the two",
        ),
        (
            &[("session_cookie", "a b")],
            "setting `session_cookie` (`--set`): `a b` is no name of a cookie: letters, digits, `-` and `_` are",
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
    for (url, wanted) in [
        (
            "rediss://polytab:hush@redis.example:6379/1",
            "rediss://polytab:********@redis.example:6379/1",
        ),
        (
            "redis+unix:///run/redis.sock?user=polytab&pass=hush&db=1",
            "redis+unix:///run/redis.sock?user=polytab&pass=********&db=1",
        ),
        (
            "unix:///run/redis.sock?p%61ss=hush",
            "unix:///run/redis.sock?pass=********",
        ),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ] {
        let flags = [("oidc_client_secret", "hush"), ("redis_url", url)];

        let shown = toml::to_string(&load(&[], &flags).unwrap().masked()).unwrap();

        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains(&format!("\"{wanted}\"")), "{shown}");
    }
}

#[test]
fn what_is_said_of_a_file_shows_nothing_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let shown = file.display();
    for (text, wanted) in [
        (
            "version = \"1\"\noidc_client_secret = \"hush",
            format!("`{shown}` is not TOML: line 2: "),
        ),
        (
            "oidc_client_secret = 4711",
            format!("setting `oidc_client_secret` (line 1 of `{shown}`): must be text"),
        ),
    ] {
        std::fs::write(&file, text).unwrap();

        let error = Config::load(Some(&file), std::iter::empty(), std::iter::empty()).unwrap_err();

        let told = error.to_string();
        assert!(told.starts_with(&wanted), "{told}");
        assert!(!told.contains("hush") && !told.contains("4711"), "{told}");
    }
}

#[test]
fn bounds_of_connections_shrink_to_the_descriptors_that_there_are() {
    let bounds = |connections, handshakes, reserved_descriptors, descriptors| {
        let config = Config {
            connections,
            handshakes,
            reserved_descriptors,
            ..Config::default()
        };
        let config = config.fitted_to(descriptors);
        (config.connections, config.handshakes)
    };

    assert_eq!(bounds(80, 20, 10, 110), (80, 20), "enough for all");
    assert_eq!(
        bounds(80, 20, 10, 60),
        (40, 10),
        "the reserve stays, the rest is shared"
    );
    assert_eq!(bounds(80, 20, 900, 40), (24, 6), "at most a quarter is reserved");
    assert_eq!(bounds(80, 20, 0, 1), (1, 1), "neither bound is zero");
    let most = usize::MAX;
    assert_eq!(bounds(most, most, most, 8), (3, 3), "no bound overflows");
}
