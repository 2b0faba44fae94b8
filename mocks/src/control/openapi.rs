//! What the control API says of itself (OpenAPI 3.1): made of the same types that its handlers read and answer, so that
//! neither a route nor a field can be left out. It is made when somebody asks, and not before.

use std::{collections::BTreeMap, future::Future};

use axum::{
    Json, Router,
    extract::State,
    handler::Handler,
    response::Html,
    routing::{MethodFilter, on},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    problem::{Details, Problem},
    wire::{Asked, At, Done, Made, Order, Whole},
};
use crate::Mocks;

/// Where the answer is described that says why an order was not carried out.
const PROBLEM: &str = "#/components/responses/Problem";

/// The document's own introduction.
const ABOUT: &str = "Everything that can be ordered of the mocks. Orders are JSON; an order without a body is one that \
says nothing. What cannot be carried out changes nothing, and is answered with problem details (RFC 9457): `detail` \
says what is wrong and where, `nearest` what was probably meant. All durations are scenario time (`5m`, `1h 30m`).";

/// Routes, none of which the document does not know.
pub(super) struct Routes {
    tag: &'static str,
    router: Router<Mocks>,
    operations: Vec<Operation>,
}

/// One verb of one route.
struct Operation {
    tag: &'static str,
    verb: Verb,
    path: &'static str,
    /// Its name for programs, and what it does. The first sentence is its title.
    name: &'static str,
    about: &'static str,
    tell: fn(&mut Page<'_>),
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// A name for programs, and what is done.
type About = (&'static str, &'static str);

impl Routes {
    /// None yet; those to come are about `tag`.
    pub(super) fn about(tag: &'static str) -> Self {
        Self {
            tag,
            router: Router::new(),
            operations: Vec::new(),
        }
    }

    pub(super) fn get<H, M, T>(self, path: &'static str, about: About, handler: H) -> Self
    where
        H: Handler<M, Mocks> + Told<T>,
        M: 'static,
    {
        self.on((Verb::Get, path), about, handler)
    }

    pub(super) fn put<H, M, T>(self, path: &'static str, about: About, handler: H) -> Self
    where
        H: Handler<M, Mocks> + Told<T>,
        M: 'static,
    {
        self.on((Verb::Put, path), about, handler)
    }

    pub(super) fn post<H, M, T>(self, path: &'static str, about: About, handler: H) -> Self
    where
        H: Handler<M, Mocks> + Told<T>,
        M: 'static,
    {
        self.on((Verb::Post, path), about, handler)
    }

    pub(super) fn delete<H, M, T>(self, path: &'static str, about: About, handler: H) -> Self
    where
        H: Handler<M, Mocks> + Told<T>,
        M: 'static,
    {
        self.on((Verb::Delete, path), about, handler)
    }

    fn on<H, M, T>(mut self, (verb, path): (Verb, &'static str), (name, about): About, handler: H) -> Self
    where
        H: Handler<M, Mocks> + Told<T>,
        M: 'static,
    {
        self.operations.push(Operation {
            tag: self.tag,
            verb,
            path,
            name,
            about,
            tell: H::tell,
        });
        self.router = self.router.route(path, on(verb.filter(), handler));
        self
    }

    /// These and those.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.operations.extend(others.operations);
        self.router = self.router.merge(others.router);
        self
    }

    pub(super) fn router(self) -> Router<Mocks> {
        self.router
    }

    /// The document about them.
    pub(super) fn document(&self) -> Value {
        let settings = SchemaSettings::draft2020_12();
        let settings = settings.with(|settings| settings.definitions_path = "/components/schemas".into());
        let mut generator = settings.into_generator();
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for operation in &self.operations {
            let told = operation.told(&mut generator);
            let verbs = paths.entry(operation.path).or_default();
            verbs.insert(operation.verb.word().to_owned(), told);
        }
        let details = generator.subschema_for::<Details>();
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Polytab mocks: control API",
                "version": env!("CARGO_PKG_VERSION"),
                "description": ABOUT,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/", "description": "the listener that serves this document"}],
            "tags": self.tags(),
            "paths": paths,
            "components": {
                "schemas": generator.take_definitions(true),
                "responses": {"Problem": {
                    "description": "The order was not carried out, and nothing was changed.",
                    "content": {"application/problem+json": {"schema": details}},
                }},
            },
        })
    }

    fn tags(&self) -> Vec<Value> {
        let mut tags: Vec<_> = self.operations.iter().map(|operation| operation.tag).collect();
        tags.dedup();
        tags.iter().map(|tag| json!({"name": tag})).collect()
    }
}

impl Operation {
    fn told(&self, generator: &mut SchemaGenerator) -> Value {
        let mut page = Page {
            generator,
            parameters: Vec::new(),
            body: None,
            responses: BTreeMap::new(),
        };
        (self.tell)(&mut page);
        let title = self.about.split_once(". ").map_or(self.about, |(title, _)| title);
        let mut told = json!({
            "tags": [self.tag],
            "operationId": self.name,
            "summary": title.trim_end_matches('.'),
            "description": self.about,
            "parameters": page.parameters,
            "responses": page.responses,
        });
        if let Some(body) = page.body {
            told["requestBody"] = body;
        }
        told
    }
}

/// What is said of one verb of one route.
pub(super) struct Page<'a> {
    generator: &'a mut SchemaGenerator,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: BTreeMap<&'static str, Value>,
}

impl Page<'_> {
    fn parameters<T: JsonSchema>(&mut self, place: &str) {
        let schema = T::json_schema(self.generator).to_value();
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            let is_required = place == "path" || is_required(&schema, name);
            let mut schema = property.clone();
            let about = schema
                .as_object_mut()
                .and_then(|schema| schema.remove("description"));
            self.parameters.push(json!({
                "name": name,
                "in": place,
                "required": is_required,
                "description": about.unwrap_or_default(),
                "schema": without_null(schema),
            }));
        }
    }

    fn body<T: JsonSchema>(&mut self) {
        let schema = T::json_schema(self.generator).to_value();
        let is_required = schema["required"]
            .as_array()
            .is_some_and(|names| !names.is_empty());
        let schema = self.generator.subschema_for::<T>();
        self.body = Some(json!({
            "required": is_required,
            "content": {"application/json": {"schema": schema}},
        }));
        self.refusal("400");
        self.refusal("413");
    }

    fn refusal(&mut self, status: &'static str) {
        self.responses.insert(status, json!({ "$ref": PROBLEM }));
    }

    /// An answer of this status.
    pub(super) fn answer<T: JsonSchema>(&mut self, status: &'static str, about: &str) {
        let schema = self.generator.subschema_for::<T>();
        let content = json!({"application/json": {"schema": schema}});
        let answer = json!({"description": about, "content": content});
        self.responses.insert(status, answer);
    }

    fn text(&mut self, kind: &str) {
        let mut content = Map::new();
        content.insert(kind.to_owned(), json!({"schema": {"type": "string"}}));
        let answer = json!({"description": "a page for people", "content": content});
        self.responses.insert("200", answer);
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema["required"].as_array();
    required.is_some_and(|names| names.iter().any(|found| found == name))
}

/// What is absent in a path or a query is not there, and is never null.
fn without_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema["type"].as_array() {
        let kinds: Vec<_> = kinds.iter().filter(|kind| *kind != "null").cloned().collect();
        if let [kind] = &kinds[..] {
            schema["type"] = kind.clone();
        }
    }
    if schema.get("default").is_some_and(Value::is_null)
        && let Some(schema) = schema.as_object_mut()
    {
        schema.remove("default");
    }
    schema
}

/// Something that a handler reads of a request.
pub(super) trait Input {
    fn tell(page: &mut Page<'_>);
}

/// Something that a handler answers.
pub(super) trait Output {
    fn tell(page: &mut Page<'_>);
}

/// A handler that can be told of: `T` is what it reads.
pub(super) trait Told<T> {
    fn tell(page: &mut Page<'_>);
}

impl<F, Fut> Told<()> for F
where
    F: Fn() -> Fut,
    Fut: Future<Output: Output>,
{
    fn tell(page: &mut Page<'_>) {
        Fut::Output::tell(page);
    }
}

impl<F, Fut, A> Told<(A,)> for F
where
    F: Fn(A) -> Fut,
    Fut: Future<Output: Output>,
    A: Input,
{
    fn tell(page: &mut Page<'_>) {
        A::tell(page);
        Fut::Output::tell(page);
    }
}

impl<F, Fut, A, B> Told<(A, B)> for F
where
    F: Fn(A, B) -> Fut,
    Fut: Future<Output: Output>,
    A: Input,
    B: Input,
{
    fn tell(page: &mut Page<'_>) {
        A::tell(page);
        B::tell(page);
        Fut::Output::tell(page);
    }
}

impl<F, Fut, A, B, C> Told<(A, B, C)> for F
where
    F: Fn(A, B, C) -> Fut,
    Fut: Future<Output: Output>,
    A: Input,
    B: Input,
    C: Input,
{
    fn tell(page: &mut Page<'_>) {
        A::tell(page);
        B::tell(page);
        C::tell(page);
        Fut::Output::tell(page);
    }
}

impl Input for State<Mocks> {
    fn tell(_: &mut Page<'_>) {}
}

impl<T: JsonSchema> Input for At<T> {
    fn tell(page: &mut Page<'_>) {
        page.parameters::<T>("path");
        page.refusal("404");
    }
}

impl<T: JsonSchema> Input for Asked<T> {
    fn tell(page: &mut Page<'_>) {
        page.parameters::<T>("query");
        page.refusal("400");
    }
}

impl<T: JsonSchema> Input for Order<T> {
    fn tell(page: &mut Page<'_>) {
        page.body::<T>();
    }
}

impl<T: JsonSchema> Input for Whole<T> {
    fn tell(page: &mut Page<'_>) {
        page.body::<T>();
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn tell(page: &mut Page<'_>) {
        page.answer::<T>("200", "what was asked for, or came of it");
    }
}

impl<T: JsonSchema> Output for Made<T> {
    fn tell(page: &mut Page<'_>) {
        page.answer::<T>("201", "what was made");
    }
}

impl Output for Done {
    fn tell(page: &mut Page<'_>) {
        let answer = json!({"description": "carried out"});
        page.responses.insert("204", answer);
    }
}

impl<T> Output for Html<T> {
    fn tell(page: &mut Page<'_>) {
        page.text("text/html");
    }
}

impl<T: Output> Output for Result<T, Problem> {
    fn tell(page: &mut Page<'_>) {
        T::tell(page);
        page.refusal("default");
    }
}
