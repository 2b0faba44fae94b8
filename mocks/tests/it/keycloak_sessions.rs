//! Whatever happens to login sessions, in whatever order: Keycloak says of each token what a small model of it says
//! (MOCKS K8 to K11).

mod model;
mod site;
use std::time::Duration;

use crate::support::{Answer, REDIRECT, SECRET};
use model::{Kind, Model};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use site::{CLIENTS, Site};

const USERS: [&str; 2] = ["ada", "bob"];
const BROWSERS: [&str; 2] = ["desk", "phone"];

/// What happens next. A token is named by how many were given after it, and its client by whether it is the own one.
#[derive(Clone, Debug)]
enum Event {
    LogIn(&'static str, &'static str, &'static str),
    Refresh(usize, bool),
    Introspect(Kind, usize),
    UserInfo(usize),
    Revoke(Kind, usize, bool),
    ReplayCode(usize),
    LogOut(usize, bool),
    Leave(&'static str, Option<usize>),
    End(usize, End),
    LogOutUser(&'static str),
    Enable(&'static str, bool),
    UserNotBefore(&'static str),
    ClientNotBefore(&'static str),
    RealmNotBefore,
    Rotate(Option<u32>),
    Pass(u16),
}

/// How one session ends, or its clients' parts of it.
#[derive(Clone, Copy, Debug)]
enum End {
    Expire,
    LogOut,
    Detach,
    Delete,
}

fn event() -> impl Strategy<Value = Event> {
    let token = || 0_usize..8;
    let own = || prop::bool::weighted(0.9);
    let kind = || select(&[Kind::Access, Kind::Refresh]);
    let (user, browser, client) = (|| select(&USERS), || select(&BROWSERS), || select(&CLIENTS));
    let end = select(&[End::Expire, End::LogOut, End::Detach, End::Delete]);
    let seconds = prop_oneof![4 => 1_u16..5, 2 => 60_u16..300, 2 => 500_u16..800, 1 => 2_000_u16..3_700];
    prop_oneof![
        6 => (browser(), user(), client()).prop_map(|(browser, user, client)| Event::LogIn(browser, user, client)),
        8 => (token(), own()).prop_map(|(token, own)| Event::Refresh(token, own)),
        3 => (kind(), token()).prop_map(|(kind, token)| Event::Introspect(kind, token)),
        2 => token().prop_map(Event::UserInfo),
        1 => (kind(), token(), own()).prop_map(|(kind, token, own)| Event::Revoke(kind, token, own)),
        1 => token().prop_map(Event::ReplayCode),
        1 => (token(), own()).prop_map(|(token, own)| Event::LogOut(token, own)),
        1 => (browser(), prop::option::weighted(0.8, token())).prop_map(|(browser, hint)| Event::Leave(browser, hint)),
        1 => (token(), end).prop_map(|(token, end)| Event::End(token, end)),
        1 => user().prop_map(Event::LogOutUser),
        2 => (user(), prop::bool::weighted(0.7)).prop_map(|(user, is_on)| Event::Enable(user, is_on)),
        1 => prop_oneof![
            user().prop_map(Event::UserNotBefore),
            client().prop_map(Event::ClientNotBefore),
            Just(Event::RealmNotBefore),
        ],
        2 => prop::option::weighted(0.7, 0_u32..2).prop_map(Event::Rotate),
        4 => seconds.prop_map(Event::Pass),
    ]
}

fn other(client: &'static str) -> &'static str {
    if client == CLIENTS[0] {
        CLIENTS[1]
    } else {
        CLIENTS[0]
    }
}

/// The mock, and what it should be.
struct Pair {
    site: Site,
    model: Model,
}

type Held = Result<(), TestCaseError>;

/// That an answer is the one the model gave: its status, and its words if it refuses.
fn same(answer: &Answer, wanted: Result<(), model::Refusal>, what: &str) -> Held {
    let found = match answer.refusal() {
        (200, error, _) if error.is_empty() => Ok(()),
        refusal => Err(refusal),
    };
    let wanted = wanted.map_err(|(status, error, text)| (status, error.to_owned(), text.to_owned()));
    prop_assert_eq!(found, wanted, "{}", what);
    Ok(())
}

impl Pair {
    /// The token that was given so many before the newest; none before the first.
    fn nth(&self, back: usize) -> Option<usize> {
        self.model.given.len().checked_sub(1 + back)
    }

    async fn happen(&mut self, event: Event) -> Held {
        match event {
            Event::LogIn(browser, user, client) => self.log_in(browser, user, client).await,
            Event::Refresh(back, own) => match self.meant(back, own) {
                Some((nth, by)) => self.refresh(nth, by).await,
                None => Ok(()),
            },
            Event::Introspect(kind, back) => match self.nth(back) {
                Some(nth) => self.introspect(kind, nth).await,
                None => Ok(()),
            },
            Event::UserInfo(back) => match self.nth(back) {
                Some(nth) => self.userinfo(nth).await,
                None => Ok(()),
            },
            Event::Revoke(kind, back, own) => match self.meant(back, own) {
                Some((nth, by)) => self.revoke((kind, nth), by).await,
                None => Ok(()),
            },
            Event::ReplayCode(back) => match self.meant(back, true) {
                Some((nth, by)) => self.replay_code(nth, by).await,
                None => Ok(()),
            },
            Event::LogOut(back, own) => match self.meant(back, own) {
                Some((nth, by)) => self.log_out(nth, by).await,
                None => Ok(()),
            },
            Event::Leave(browser, back) => self.leave(browser, back.and_then(|back| self.nth(back))).await,
            Event::End(back, how) => match self.nth(back) {
                Some(nth) => self.end(nth, how).await,
                None => Ok(()),
            },
            order => {
                self.order(order).await;
                Ok(())
            }
        }
    }

    /// A token and the client that comes with it.
    fn meant(&self, back: usize, own: bool) -> Option<(usize, &'static str)> {
        let nth = self.nth(back)?;
        let client = self.model.given[nth].client;
        Some((nth, if own { client } else { other(client) }))
    }

    async fn log_in(&mut self, browser: &'static str, user: &'static str, client: &'static str) -> Held {
        let wanted = (
            !self.model.is_signed_in(browser),
            self.model.log_in(browser, user, client).is_some(),
        );

        let found = self.site.log_in(browser, user, client).await;

        prop_assert_eq!(found, wanted, "whether there is a page, and tokens, for {}", user);
        Ok(())
    }

    async fn refresh(&mut self, nth: usize, by: &'static str) -> Held {
        let wanted = self.model.refresh(nth, by).map(drop);
        let answer = self.site.refresh(nth, by).await;
        same(&answer, wanted, &format!("refresh with token {nth} by {by}"))
    }

    async fn introspect(&self, kind: Kind, nth: usize) -> Held {
        let answer = self.site.about("token/introspect", (kind, nth), CLIENTS[0]).await;

        let wanted = (200, json!(self.model.is_active(kind, nth)));
        let found = (answer.status.as_u16(), answer.json()["active"].clone());
        prop_assert_eq!(found, wanted, "introspection of {:?} token {}", kind, nth);
        Ok(())
    }

    async fn userinfo(&self, nth: usize) -> Held {
        let answer = self.site.userinfo(nth).await;
        same(
            &answer,
            self.model.userinfo(nth),
            &format!("userinfo of token {nth}"),
        )
    }

    async fn revoke(&mut self, (kind, nth): (Kind, usize), by: &'static str) -> Held {
        let wanted = self.model.revoke(kind, nth, by);
        let answer = self.site.about("revoke", (kind, nth), by).await;
        same(
            &answer,
            wanted,
            &format!("revocation of {kind:?} token {nth} by {by}"),
        )
    }

    async fn replay_code(&mut self, nth: usize, by: &'static str) -> Held {
        self.model.replay_code(nth);
        let answer = self.site.replay_code(nth, by).await;
        same(
            &answer,
            Err((400, "invalid_grant", "Code not valid")),
            "a code sent again",
        )
    }

    async fn log_out(&mut self, nth: usize, by: &'static str) -> Held {
        let status = if self.model.log_out(nth, by) { 204 } else { 400 };
        let answer = self.site.log_out(nth, by).await;
        prop_assert_eq!(
            answer.status.as_u16(),
            status,
            "logout with token {} by {}",
            nth,
            by
        );
        Ok(())
    }

    async fn leave(&mut self, browser: &'static str, hint: Option<usize>) -> Held {
        let status = if self.model.leave(browser, hint) { 302 } else { 200 };
        let answer = self.site.leave(browser, hint).await;
        prop_assert_eq!(answer.status.as_u16(), status, "{} leaves by {:?}", browser, hint);
        prop_assert_eq!(status == 200, answer.text.contains("kc-logout-confirm"));
        Ok(())
    }

    async fn end(&mut self, nth: usize, how: End) -> Held {
        let session = self.model.given[nth].session;
        let was_alive = self.model.is_alive(session);
        let sid = self.site.given[nth].sid.clone();
        let verb = match how {
            End::Delete => {
                let path = format!("/sessions/{sid}");
                let status = self.site.administer("DELETE", &path).await.status.as_u16();
                prop_assert_eq!(status, if was_alive { 204 } else { 404 });
                self.model.end(session);
                return Ok(());
            }
            End::Expire => "expire",
            End::LogOut => "logout",
            End::Detach => "detach",
        };
        // There are no orders about a session that is over.
        if was_alive {
            let path = format!("/sessions/{sid}/{verb}");
            self.site.order("POST", &path, &json!({})).await;
            match how {
                End::Detach => self.model.detach(session),
                End::Expire | End::LogOut | End::Delete => self.model.end(session),
            }
        }
        Ok(())
    }

    /// What changes users, clients, the realm or the time, and is never refused.
    async fn order(&mut self, event: Event) {
        let nothing = json!({});
        let (method, path, body) = match event {
            Event::Pass(seconds) => {
                tokio::time::advance(Duration::from_secs(seconds.into())).await;
                return self.model.pass(seconds.into());
            }
            Event::LogOutUser(user) => {
                self.model.log_out_user(user);
                let path = format!("/users/{}/logout", self.site.subject(user));
                assert_eq!(self.site.administer("POST", &path).await.status, 204);
                return;
            }
            Event::Enable(user, is_on) => {
                self.model.enable(user, is_on);
                let verb = if is_on { "enable" } else { "disable" };
                ("POST", format!("/users/{user}/{verb}"), nothing)
            }
            Event::UserNotBefore(user) => {
                self.model.user_not_before(user);
                ("POST", format!("/users/{user}/not_before"), nothing)
            }
            Event::ClientNotBefore(client) => {
                self.model.client_not_before(client);
                let config =
                    json!({"secret": SECRET, "redirectUris": [REDIRECT], "notBefore": self.model.now()});
                ("PUT", format!("/clients/{client}"), config)
            }
            Event::RealmNotBefore => {
                self.model.realm_not_before();
                ("PUT", String::new(), json!({"notBefore": self.model.now()}))
            }
            Event::Rotate(reuse) => {
                self.model.rotate(reuse);
                let rotation: Value = json!({"revokeRefreshToken": reuse.is_some(), "refreshTokenMaxReuse": reuse.unwrap_or(0)});
                ("PUT", String::new(), rotation)
            }
            done_elsewhere => unreachable!("{done_elsewhere:?} is about a token or a browser"),
        };
        self.site.order(method, &path, &body).await;
    }

    /// Every token that was ever given, in every way.
    async fn look_at_all(&mut self) -> Held {
        for nth in 0..self.model.given.len() {
            self.introspect(Kind::Access, nth).await?;
            self.introspect(Kind::Refresh, nth).await?;
            self.userinfo(nth).await?;
        }
        for nth in 0..self.model.given.len() {
            let by = self.model.given[nth].client;
            self.refresh(nth, by).await?;
        }
        Ok(())
    }
}

async fn live(events: Vec<Event>) -> Held {
    let epoch = crate::support::seams().clock.wall().as_second();
    let mut pair = Pair {
        site: Site::new(&USERS),
        model: Model::new(&USERS, epoch),
    };
    for event in events {
        pair.happen(event).await?;
    }
    pair.look_at_all().await
}

fn run(events: Vec<Event>) -> Held {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(live(events))
}

/// What the model found wrong with the mock.
#[test]
fn what_was_once_wrong_stays_right() {
    let [ada, _] = USERS;
    let [desk, _] = BROWSERS;
    let [own, portal] = CLIENTS;
    let log_in = |client| Event::LogIn(desk, ada, client);
    for (name, events) in [
        (
            "a cookie from before a not-before signs nobody in",
            vec![log_in(own), Event::Pass(1), Event::RealmNotBefore, log_in(own)],
        ),
        (
            "a cookie of a user who is off signs nobody in",
            vec![log_in(own), Event::Enable(ada, false), log_in(portal)],
        ),
        (
            "a refresh token that is used up is not active",
            vec![Event::Rotate(Some(0)), log_in(own), Event::Refresh(0, true)],
        ),
        (
            "a client that was taken out of a session and comes back does not revive its old tokens",
            vec![
                log_in(own),
                Event::End(0, End::Detach),
                Event::Pass(1),
                log_in(own),
            ],
        ),
    ] {
        let held = run(events);

        assert!(held.is_ok(), "{name}: {held:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_token_is_as_good_as_the_model_says(events in prop::collection::vec(event(), 0..40)) {
        run(events)?;
    }
}
