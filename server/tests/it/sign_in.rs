//! Signing in and out as a browser does it, with the cookies that a browser would send.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::json;
use url::Url;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string_contains, path},
};

use crate::{
    services::{config, in_an_hour, services, signed, token},
    support::{head, with_server},
};

/// What a browser keeps for a server, and how it answers.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

/// The head of an answer.
struct Answer(String);

impl Answer {
    fn status(&self) -> &str {
        self.0.split(' ').nth(1).expect("an answer has a status")
    }

    fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.0.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    fn location(&self) -> Url {
        self.fields("location")[0].parse().expect("it leads to a page")
    }
}

impl Browser {
    async fn get(&mut self, at: SocketAddr, target: &str) -> Answer {
        self.request(at, &format!("GET {target}"), "").await
    }

    async fn request(&mut self, at: SocketAddr, method_and_target: &str, fields: &str) -> Answer {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = format!(
            "{method_and_target} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 0\r\nCookie: {}\r\n\r\n",
            cookies.join("; ")
        );
        let answer = Answer(head(at, &request).await);
        for text in answer.fields("set-cookie") {
            let (name, rest) = text.split_once('=').expect("a cookie has a name");
            let value = rest.split(';').next().unwrap_or_default();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Begins a sign-in and is let in as ada with this code, once; gives where the provider sends the browser then.
    async fn begin(&mut self, at: SocketAddr, services: &MockServer, code: &str) -> String {
        let begun = self.get(at, "/auth/login").await.location();
        let asked = |name: &str| {
            let found = begun.query_pairs().find(|(key, _)| key == name);
            found.expect("the provider is told").1.into_owned()
        };
        let claims = json!({
            "iss": format!("{}/auth/realms/Renku", services.uri()),
            "aud": "renku-ui",
            "sub": "ada",
            "nonce": asked("nonce"),
            "exp": in_an_hour(),
            "iat": in_an_hour() - 3600,
        });
        let tokens = json!({
            "access_token": token(services, "ada"), "expires_in": 300, "id_token": signed(&claims),
        });
        Mock::given(path("/token"))
            .and(body_string_contains(format!("code={code}&")))
            .respond_with(ResponseTemplate::new(200).set_body_json(tokens))
            .expect(..=1)
            .mount(services)
            .await;
        format!("/auth/callback?code={code}&state={}", asked("state"))
    }

    fn sign_ins(&self) -> usize {
        let names = self.cookies.keys();
        names.filter(|name| name.contains("sign_in")).count()
    }

    fn is_signed_in(&self) -> bool {
        self.cookies.contains_key("_renku_session")
    }
}

#[tokio::test]
async fn two_tabs_of_a_browser_sign_in_at_once() {
    let services = services().await;
    let mut browser = Browser::default();

    with_server(config(&services), async |at| {
        let first = browser.begin(at, &services, "one").await;
        let second = browser.begin(at, &services, "two").await;
        assert_eq!(browser.sign_ins(), 2);

        for callback in [first, second] {
            let answer = browser.get(at, &callback).await;
            assert_eq!(answer.status(), "303");
            assert!(!answer.fields("set-cookie").is_empty());
        }
        assert_eq!(browser.sign_ins(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_code_is_sent_once_and_who_comes_again_is_where_they_wanted_to_be() {
    let services = services().await;
    let mut browser = Browser::default();

    with_server(config(&services), async |at| {
        let callback = browser.begin(at, &services, "one").await;
        let before = browser.cookies.clone();
        let first = browser.get(at, &callback).await;
        let reloaded = browser.get(at, &callback).await;
        // Both were sent before an answer came.
        let mut hasty = Browser { cookies: before };
        let doubled = hasty.get(at, &callback).await;
        let strange = Browser::default().get(at, &callback).await;

        assert_eq!((first.status(), reloaded.status()), ("303", "303"));
        assert_eq!(reloaded.location(), first.location());
        assert!(browser.is_signed_in());
        assert_eq!((doubled.status(), strange.status()), ("400", "400"));
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_outlives_the_server_and_belongs_to_one_browser() {
    let services = services().await;
    let mut browser = Browser::default();
    let callback = with_server(config(&services), async |at| {
        browser.begin(at, &services, "one").await
    })
    .await;

    with_server(config(&services), async |at| {
        let mut other = Browser::default();
        let theirs = other.begin(at, &services, "two").await;
        assert_eq!(other.get(at, &callback).await.status(), "400");
        assert!(!other.is_signed_in());

        let name = browser.cookies.keys().next().cloned().expect("it has one");
        let foreign = other.cookies.values().next().cloned().expect("it has one");
        let mut swapped = Browser::default();
        swapped.cookies.insert(name, foreign);
        assert_eq!(swapped.get(at, &callback).await.status(), "400");

        assert_eq!(browser.get(at, &callback).await.status(), "303");
        assert_eq!(other.get(at, &theirs).await.status(), "303");
        assert!(browser.is_signed_in() && other.is_signed_in());
    })
    .await;
}

#[tokio::test]
async fn sign_ins_that_were_given_up_do_not_pile_up_in_a_browser() {
    let services = services().await;
    let mut browser = Browser::default();

    with_server(config(&services), async |at| {
        for nth in 0..20 {
            browser.begin(at, &services, &format!("given-up-{nth}")).await;
            assert!(browser.sign_ins() <= 5);
        }
        let callback = browser.begin(at, &services, "last").await;

        assert_eq!(browser.get(at, &callback).await.status(), "303");
        assert!(browser.is_signed_in());
    })
    .await;
}

/// A request to `/auth/logout`, and its status.
type SignOut = (&'static str, &'static [&'static str], &'static str);

/// What a browser sends that is no wish of its user's to leave.
const NO_SIGN_OUT: &[SignOut] = &[
    ("HEAD", &[], "200"),
    ("GET", &["Sec-Purpose: prefetch"], "403"),
    ("GET", &["Sec-Purpose: prefetch;prerender"], "403"),
    ("GET", &["Purpose: prefetch"], "403"),
    (
        "GET",
        &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: no-cors",
            "Sec-Fetch-Dest: image",
        ],
        "403",
    ),
    (
        "GET",
        &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: iframe",
        ],
        "403",
    ),
    ("GET", &["Sec-Fetch-Site: cross-site"], "403"),
    (
        "GET",
        &[
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: no-cors",
            "Sec-Fetch-Dest: image",
        ],
        "403",
    ),
    (
        "POST",
        &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: no-cors",
            "Sec-Fetch-Dest: empty",
        ],
        "403",
    ),
    ("PUT", &[], "405"),
];

/// What is one.
const SIGN_OUT: &[SignOut] = &[
    ("GET", &[], "303"),
    ("POST", &[], "303"),
    (
        "GET",
        &[
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ],
        "303",
    ),
    (
        "GET",
        &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ],
        "303",
    ),
    (
        "POST",
        &[
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: cors",
            "Sec-Fetch-Dest: empty",
        ],
        "303",
    ),
];

#[tokio::test]
async fn only_who_goes_there_is_signed_out() {
    let services = services().await;

    with_server(config(&services), async |at| {
        let mut browser = Browser::default();
        let sign_out = async |browser: &mut Browser, (method, fields, status): &SignOut| {
            let fields: Vec<_> = fields.iter().map(|field| format!("{field}\r\n")).collect();
            let fields = fields.concat();
            let request = format!("{method} /auth/logout");
            let answer = browser.request(at, &request, &fields).await;
            assert_eq!(answer.status(), *status, "{method} {fields}");
        };

        let callback = browser.begin(at, &services, "first").await;
        browser.get(at, &callback).await;
        for row in NO_SIGN_OUT {
            sign_out(&mut browser, row).await;
            assert!(browser.is_signed_in(), "{row:?}");
        }
        // The session itself stands as well: a page that comes again is led on by it.
        assert_eq!(browser.get(at, &callback).await.status(), "303");

        for (nth, row) in SIGN_OUT.iter().enumerate() {
            let callback = browser.begin(at, &services, &format!("again-{nth}")).await;
            browser.get(at, &callback).await;
            assert!(browser.is_signed_in());
            sign_out(&mut browser, row).await;
            assert!(!browser.is_signed_in(), "{row:?}");
            assert_eq!(browser.get(at, &callback).await.status(), "400");
        }
    })
    .await;
}
