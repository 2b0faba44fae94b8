//! Lists in pages, with the headers that clients go by (MOCKS G5).

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::call::Call;

/// Items of a page, unless told.
const USUAL: usize = 20;
/// Items of a page at most, whatever is told.
const MOST: usize = 100;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    number: usize,
    size: usize,
}

/// One page of a list.
pub(super) fn page(call: &Call, items: &[Value]) -> Response {
    let page = match Page::read(call) {
        Ok(page) => page,
        Err(error) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    };
    let shown: Vec<_> = items
        .iter()
        .skip((page.number - 1).saturating_mul(page.size))
        .take(page.size)
        .collect();
    let mut answer = Json(shown).into_response();
    for (name, value) in page.headers(call, items.len()) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

impl Page {
    fn read(call: &Call) -> Result<Self, String> {
        let number = |name: &str, usual: usize| match call.query(name).map(str::parse) {
            None => Ok(usual),
            Some(Ok(0)) => Err(format!("{name} does not have a valid value")),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(format!("{name} is invalid")),
        };
        Ok(Self {
            number: number("page", 1)?,
            size: number("per_page", USUAL)?.min(MOST),
        })
    }

    /// How many pages there are; an empty list has one.
    fn pages(self, total: usize) -> usize {
        total.div_ceil(self.size).max(1)
    }

    fn next(self, total: usize) -> Option<usize> {
        (self.number < self.pages(total)).then_some(self.number + 1)
    }

    fn previous(self) -> Option<usize> {
        (self.number > 1).then_some(self.number - 1)
    }

    fn headers(self, call: &Call, total: usize) -> [(HeaderName, String); 7] {
        // An empty value means that there is no such page.
        let shown = |number: Option<usize>| number.map_or_else(String::new, |number| number.to_string());
        let named = HeaderName::from_static;
        [
            (named("x-page"), self.number.to_string()),
            (named("x-per-page"), self.size.to_string()),
            (named("x-total"), total.to_string()),
            (named("x-total-pages"), self.pages(total).to_string()),
            (named("x-next-page"), shown(self.next(total))),
            (named("x-prev-page"), shown(self.previous())),
            (header::LINK, self.links(call, total)),
        ]
    }

    fn links(self, call: &Call, total: usize) -> String {
        let pages = [
            ("prev", self.previous()),
            ("next", self.next(total)),
            ("first", Some(1)),
            ("last", Some(self.pages(total))),
        ];
        let links = pages.into_iter().filter_map(|(relation, number)| {
            Some(format!("<{}>; rel=\"{relation}\"", self.address(call, number?)))
        });
        links.collect::<Vec<_>>().join(", ")
    }

    /// Where another page is: everything but the page as it was asked for, and no token.
    fn address(self, call: &Call, number: usize) -> String {
        let left_out = ["page", "per_page", "access_token", "private_token"];
        let kept = call
            .query
            .iter()
            .filter(|(name, _)| !left_out.contains(&name.as_str()));
        let query = Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair("page", &number.to_string())
            .append_pair("per_page", &self.size.to_string())
            .finish();
        let host = call.header("host").unwrap_or("gitlab");
        format!("http://{host}{}?{query}", call.uri.path())
    }
}
