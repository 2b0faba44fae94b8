//! The mocks as a service of a pipeline: which of them listen, https, settings from a file, the line that is waited
//! for, and how it ends.

mod support;

use std::{collections::BTreeSet, fs, net::TcpListener};

use http::Request;
use http_body_util::Full;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use support::{PORTS, Service, ask, document, folder, get, post, stderr, text};

use crate::process::polytab;
use tempfile::TempDir;

#[test]
fn only_the_mocks_that_are_named_listen_and_are_told() {
    let (_mocks, ready) = Service::mocks(&folder(), &["gitlab", "gateway"]);

    let names: BTreeSet<_> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["control", "gateway", "gitlab", "type"].into());
    for name in ["control", "gateway", "gitlab"] {
        assert!(get(text(&ready, name), None).is_ok(), "{name}");
    }
}

#[test]
fn the_gateway_works_without_the_listeners_of_what_is_behind_it() {
    let (_mocks, ready) = Service::mocks(&folder(), &["gateway"]);

    let signed_in = get(
        &format!("{}/api/auth/login?user=ada", text(&ready, "gateway")),
        None,
    )
    .unwrap();

    assert_eq!(signed_in.status(), 302);
    assert!(signed_in.headers().contains_key("set-cookie"));
}

#[test]
fn the_line_has_all_that_a_server_must_be_told() {
    let (_mocks, ready) = Service::mocks(&folder(), &["all"]);

    let names: BTreeSet<_> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "backend",
        "client_id",
        "client_secret",
        "control",
        "gateway",
        "gitlab",
        "issuer",
        "keycloak",
        "type",
    ];
    assert_eq!(names, expected.into());
    let document = document(
        &format!("{}/.well-known/openid-configuration", text(&ready, "issuer")),
        None,
    );
    assert_eq!(document["issuer"], ready["issuer"]);
}

/// Arguments after `mock`, the exit code, and what standard error says.
const REFUSALS: &[(&[&str], i32, &str)] = &[
    (&["keycloack"], 2, "'keycloak'"),
    (
        &["--tls-cert", "cert.pem"],
        2,
        "`--tls-cert` needs the certificate's key; name its file with `--tls-key`",
    ),
    (
        &["--tls-cert", "cert.pem", "--tls-key", "key.pem"],
        3,
        "cannot read the certificate `cert.pem`",
    ),
    (
        &[
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
            "--tls-ca-out",
            "ca.pem",
        ],
        2,
        "leave out one of them",
    ),
    (
        &["--tls-ca-out", "nonesuch/ca.pem"],
        6,
        "cannot write the authority's certificate to `nonesuch/ca.pem`",
    ),
    (&["--base-path", "auth"], 2, "it begins with `/`"),
    (
        &["--public-url", "ftp://mocks"],
        2,
        "it begins with `http://` or `https://`",
    ),
    (&["--public-url", "http://mocks/auth"], 2, "the base path"),
    (&["--public-host", "http://mocks"], 2, "without scheme and port"),
    (&["--heartbeat", "15"], 2, "as `250ms`, `15s` or `2m`"),
    (&["--user", ""], 2, "the name of a user"),
    (
        &["--keycloak-port", "7999", "--gitlab-port", "7999"],
        2,
        "keycloak and gitlab are both to listen on port 7999; give one of them another with `--gitlab-port`",
    ),
    (
        &["--listen", "203.0.113.1"],
        6,
        "give an address of this machine with `--listen`",
    ),
    (&["--file", "nonesuch.yaml"], 3, "there is no such file"),
];

#[test]
fn what_cannot_be_is_refused_with_its_mend() {
    let folder = folder();
    for (arguments, exit, says) in REFUSALS {
        // What is given twice is taken from the second.
        let mut command = polytab(&folder, &["mock"]);
        let ports = PORTS.chunks(2).filter(|port| !arguments.contains(&port[0]));
        let output = command.args(ports.flatten()).args(*arguments).output().unwrap();

        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(*exit), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
}

#[test]
fn a_taken_port_is_named_with_who_wants_it_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let output = polytab(
        &folder(),
        &["mock", "backend", "--control-port", "0", "--backend-port", &port],
    )
    .output()
    .unwrap();

    assert_eq!(output.status.code(), Some(6));
    let told = stderr(&output);
    for part in [
        format!("127.0.0.1:{port} for backend"),
        "`--backend-port`".to_owned(),
        "in use".to_owned(),
    ] {
        assert!(told.contains(&part), "{told}");
    }
}

#[test]
fn https_is_believed_by_who_trusts_the_authority_that_was_written() {
    let folder = folder();
    let (_mocks, ready) = Service::mocks(&folder, &["--tls-ca-out", "ca.pem"]);
    let ca = folder.path().join(text(&ready, "ca_file"));

    for name in ["keycloak", "backend", "gitlab", "control", "gateway", "issuer"] {
        assert!(text(&ready, name).starts_with("https://127.0.0.1:"), "{ready}");
        assert!(get(text(&ready, name), Some(&ca)).is_ok(), "{name}");
    }
    let issuer = text(&ready, "issuer");
    let document = document(&format!("{issuer}/.well-known/openid-configuration"), Some(&ca));
    assert_eq!(
        document["token_endpoint"],
        format!("{issuer}/protocol/openid-connect/token")
    );
    let by_name = issuer.replace("127.0.0.1", "localhost");
    assert!(get(&by_name, Some(&ca)).is_ok());
    assert!(
        get(issuer, None).is_err(),
        "a client that trusts nobody must not believe it"
    );

    let gateway = format!("{}/api/auth/login?user=ada", text(&ready, "gateway"));
    let signed_in = get(&gateway, Some(&ca)).unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("Secure"), "{cookie}");
}

#[test]
fn hooks_are_called_over_https_with_the_authority_of_the_mocks() {
    let folder = folder();
    let (_mocks, ready) = Service::mocks(&folder, &["--tls-ca-out", "ca.pem"]);
    let ca = folder.path().join("ca.pem");
    let (gitlab, control) = (text(&ready, "gitlab"), text(&ready, "control"));
    let oidc = format!("{}/protocol/openid-connect", text(&ready, "issuer"));
    let form = "client_id=renku-ui&client_secret=client-secret-for-tests-only&grant_type=password&username=ada&\
                password=password-of-ada";
    let asked = Request::post(format!("{oidc}/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from(form))
        .unwrap();
    let granted: Value = serde_json::from_slice(ask(asked, Some(&ca)).unwrap().body()).unwrap();
    let as_ada = (text(&granted, "access_token"), ca.as_path());

    post(
        &format!("{control}/change"),
        as_ada,
        &json!({"user": "ada", "projects": [42]}),
    );
    // Any route will do as the receiver whose calls can be waited for.
    let hook = json!({"url": format!("{oidc}/revoke"), "issues_events": true});
    let hook = post(&format!("{gitlab}/api/v4/projects/42/hooks"), as_ada, &hook);
    let event = json!({"type": "issue"});
    let event = post(&format!("{control}/projects/42/events"), as_ada, &event);

    assert_eq!((hook.status().as_u16(), event.status().as_u16()), (201, 201));
    let heard = json!({
        "match": {"route": "keycloak.revoke"}, "at_least": 1, "within": "10s",
    });
    let heard = post(&format!("{control}/journal/wait"), as_ada, &heard);
    assert_eq!(heard.status(), 200, "{heard:?}");
}

#[test]
fn plain_http_to_a_port_that_speaks_https_is_told() {
    let (_mocks, ready) = Service::mocks(&folder(), &["keycloak", "--tls"]);

    let answer = get(&text(&ready, "keycloak").replace("https", "http"), None).unwrap();

    assert_eq!(answer.status(), 400);
    assert!(String::from_utf8_lossy(answer.body()).contains("`https://`"));
}

/// A certificate for the loopback, and its key, as files of this folder.
fn write_pair(folder: &TempDir, [certificate, key]: [&str; 2]) {
    let names = ["127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    fs::write(folder.path().join(certificate), cert.pem()).unwrap();
    fs::write(folder.path().join(key), signing_key.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_of_ones_own_is_shown() {
    let folder = folder();
    write_pair(&folder, ["cert.pem", "key.pem"]);

    let (_mocks, ready) = Service::mocks(
        &folder,
        &["keycloak", "--tls-cert", "cert.pem", "--tls-key", "key.pem"],
    );

    let cert = folder.path().join("cert.pem");
    assert_eq!(get(text(&ready, "issuer"), Some(&cert)).unwrap().status(), 200);
    assert_eq!(ready.get("ca_file"), None);
}

#[test]
fn files_that_hold_no_pair_are_named() {
    let folder = folder();
    write_pair(&folder, ["cert.pem", "key.pem"]);
    write_pair(&folder, ["other.pem", "other-key.pem"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(folder.path().join("locked.pem"), encrypted).unwrap();

    for (certificate, key, says) in [
        (
            "cert.pem",
            "other-key.pem",
            "the key in `other-key.pem` is not that of",
        ),
        ("key.pem", "key.pem", "`key.pem` holds no certificate as PEM"),
        ("cert.pem", "cert.pem", "`cert.pem` holds no private key as PEM"),
        (
            "cert.pem",
            "locked.pem",
            "the private key in `locked.pem` is encrypted",
        ),
    ] {
        let output = polytab(&folder, &["mock", "--tls-cert", certificate, "--tls-key", key])
            .args(PORTS)
            .output()
            .unwrap();

        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{certificate} {key}: {told}");
        assert!(told.contains(says), "{certificate} {key}: {told}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let folder = folder();
    fs::write(
        folder.path().join("mocks.yaml"),
        "mocks: [keycloak]\npublic_host: from-file\nbase_path: /of-file\n",
    )
    .unwrap();
    let issuer = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = polytab(
            &folder,
            &["mock", "--file", "mocks.yaml", "--message-format", "json"],
        );
        command
            .args(PORTS)
            .args(arguments)
            .envs(environment.iter().copied());
        let ready: Value = serde_json::from_str(&Service::start(command).line()).unwrap();
        assert_eq!(ready.get("gitlab"), None, "the file names Keycloak only");
        text(&ready, "issuer").to_owned()
    };
    let environment = [("POLYTAB_MOCK_PUBLIC_HOST", "from-environment")];

    let issuers = [
        issuer(&[], &[]),
        issuer(&environment, &[]),
        issuer(&environment, &["--public-host", "from-flag"]),
    ];

    for (issuer, host) in issuers.iter().zip(["from-file", "from-environment", "from-flag"]) {
        assert!(issuer.starts_with(&format!("http://{host}:")), "{issuer}");
        assert!(issuer.ends_with("/of-file/realms/Renku"), "{issuer}");
    }
}

#[test]
fn everything_wrong_in_a_file_is_told_with_its_place() {
    let folder = folder();
    let file = "mocks: [keycloack]\nlisten: everywhere\nkeycloak_port: 70810\ntls: yes\npublic-host: mocks\n\
                heartbeat: 15\nusers: ada\n";
    fs::write(folder.path().join("mocks.yaml"), file).unwrap();

    let output = polytab(&folder, &["mock", "--file", "mocks.yaml"])
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!(stderr(&output));
}

/// The schema is what editors check the file with: it knows every key, and no other.
#[test]
fn the_schema_of_the_file_knows_every_flag() {
    let folder = folder();
    let schema = polytab(&folder, &["schema", "mocks"]).output().unwrap();
    let help = polytab(&folder, &["mock", "--help"]).output().unwrap();

    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    // As one line: a long one is broken anywhere.
    let help = String::from_utf8(help.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    for key in &keys {
        let twin = format!("[env: POLYTAB_MOCK_{}=]", key.to_uppercase());
        assert!(help.contains(&twin), "{twin}");
    }
    let twins = help.matches("[env: POLYTAB_MOCK_").count();
    // The file itself has no key, and stubs have files of their own.
    assert_eq!(twins, keys.len() + 2);
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn help_is_for_who_has_never_seen_it() {
    let help = polytab(&folder(), &["mock", "--help"]).output().unwrap();

    insta::assert_snapshot!(String::from_utf8(help.stdout).unwrap());
}

#[test]
fn it_ends_in_order_when_asked() {
    for signal in ["-TERM", "-INT"] {
        let (mut mocks, ready) = Service::mocks(&folder(), &["keycloak"]);
        assert!(get(text(&ready, "keycloak"), None).is_ok());

        mocks.tell(signal);

        assert_eq!(mocks.process.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn the_reference_server_speaks_https_with_its_mocks() {
    let folder = folder();
    let mut command = polytab(&folder, &["serve", "--message-format", "json", "--port", "0"]);
    command.args(PORTS).args(["--tls-ca-out", "ca.pem"]);
    let mut service = Service::start(command);
    let ready: Value = serde_json::from_str(&service.line()).unwrap();
    let ca = folder.path().join(text(&ready, "ca_file"));

    let sign_in = get(&format!("{}auth/login", text(&ready, "server")), Some(&ca)).unwrap();

    // It can only say where to sign in when it believed Keycloak.
    let location = sign_in.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(text(&ready, "issuer")), "{location}");
    assert!(text(&ready, "tabs").starts_with("wss://127.0.0.1:"), "{ready}");
}
