//! The description of the interface, OpenAPI 3.1: paths from the table of routes, shapes from the types that are sent. The text is
//! written by `make docs-reference`, is part of the program and of the docs, and a test compares it with what the code says.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::health::Document;
use super::rendered::{HEALTH_JSON, JSON};
use super::route::{Endpoint, Query, ROUTES, Route};

/// As it is served.
pub const TEXT: &str = include_str!("../../../docs/src/reference/openapi.json");

/// Why a request gets no answer, in plain text; see [`super::guard`].
const REFUSED: &str = "The request is refused: 400 not one valid Host, 405 not GET or HEAD, 413 it has a body, 421 the board does \
    not go by that name, 431 its head is larger than 16 KiB or has more than 64 fields";

/// As the code has it now.
pub fn write() -> String {
    // With `#`, a value is written over several lines.
    let mut text = format!("{:#}", document());
    text.push('\n');
    text
}

fn document() -> Value {
    // OpenAPI 3.1 takes JSON Schema 2020-12 as it is (4.8.24).
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let health = generator.subschema_for::<Document<'_>>().to_value();
    let paths: Map<String, Value> = ROUTES
        .iter()
        .map(|route| (route.path.to_owned(), path(route, &health)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Health of a HypriotOS board",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Everything is answered out of memory: the board is looked at every five seconds, whoever asks. \
                Nothing can be changed here. HEAD answers as GET does, without the body. The Host of a request must be an address, \
                localhost, the board's own name, or one that its owner configured.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {"refused": {"description": REFUSED, "content": {"text/plain": {"schema": {"type": "string"}}}}},
        },
    })
}

fn path(route: &Route, health: &Value) -> Value {
    let mut answers: BTreeMap<String, Value> = BTreeMap::new();
    for code in route.codes {
        answers.insert(code.to_string(), answer(route, *code, health));
    }
    answers.insert(
        "304".into(),
        json!({"description": "It is still what the ETag in If-None-Match stands for"}),
    );
    answers.insert(
        "default".into(),
        json!({"$ref": "#/components/responses/refused"}),
    );
    let id = route.path.replace("/{check}", "-check");
    let id = match id.trim_start_matches('/') {
        "" => "page",
        id => id,
    };
    let mut get = json!({"operationId": id, "summary": route.summary, "responses": answers});
    let parameters = parameters(route);
    if !parameters.is_empty() {
        get["parameters"] = Value::Array(parameters);
    }
    json!({ "get": get })
}

fn answer(route: &Route, code: u16, health: &Value) -> Value {
    let words = match code {
        200 => "It is so",
        404 => "There is no such check on this board",
        _ => "It is not well, or there is no fresh report",
    };
    let string = json!({"schema": {"type": "string"}});
    let schema = |kind: &str| match kind {
        JSON if route.endpoint == Endpoint::OpenApi => json!({"schema": {"type": "object"}}),
        HEALTH_JSON | JSON => json!({ "schema": health }),
        _ => string.clone(),
    };
    // What is not found is said in plain text whatever was asked for.
    let content: Map<String, Value> = if code == 404 {
        [("text/plain".to_owned(), string.clone())]
            .into_iter()
            .collect()
    } else {
        let kinds = route.kinds.iter();
        kinds
            .map(|kind| {
                (
                    kind.split(';').next().unwrap_or(kind).to_owned(),
                    schema(kind),
                )
            })
            .collect()
    };
    let mut answer = json!({"description": words, "content": content});
    if code == 503 {
        let schema = json!({"type": "integer"});
        answer["headers"] = json!({"Retry-After": {"description": "Seconds", "schema": schema}});
    }
    answer
}

fn parameters(route: &Route) -> Vec<Value> {
    let check = route.path.contains("{check}").then(|| {
        json!({"name": "check", "in": "path", "required": true, "description": "Its name", "schema": {"type": "string"}, "example": "memory"})
    });
    let query = route.query.iter().map(|query| match query {
        Query::Verbose => json!({
            "name": "verbose", "in": "query", "allowEmptyValue": true, "schema": {"type": "string"},
            "description": "One line for each check, as Kubernetes prints them",
        }),
        Query::Exclude => json!({
            "name": "exclude", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}, "example": ["clock"],
            "description": "A check that does not count; may be given more than once",
        }),
        Query::Refresh => json!({
            "name": "refresh", "in": "query", "allowEmptyValue": true, "schema": {"type": "string"},
            "description": "Have the browser look again every 10 seconds",
        }),
    });
    check.into_iter().chain(query).collect()
}

/// One path, for the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The path, `{check}` in it stands for a name.
    pub path: &'static str,
    /// What is there.
    pub summary: &'static str,
    /// Its media types, the default first.
    pub kinds: Vec<&'static str>,
    /// Status codes that mean something.
    pub codes: &'static [u16],
    /// Names of parameters.
    pub query: Vec<&'static str>,
}

/// Every path.
pub fn served() -> Vec<Served> {
    let query = |query: &Query| match query {
        Query::Verbose => "verbose",
        Query::Exclude => "exclude",
        Query::Refresh => "refresh",
    };
    let served = |route: &Route| Served {
        path: route.path,
        summary: route.summary,
        kinds: route
            .kinds
            .iter()
            .map(|kind| kind.split(';').next().unwrap_or(kind))
            .collect(),
        codes: route.codes,
        query: route.query.iter().map(query).collect(),
    };
    ROUTES.iter().map(served).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_what_the_code_says() {
        let text = write();
        // What `make docs-reference` would write, for whoever has only this test.
        assert!(
            TEXT == text,
            "docs/src/reference/openapi.json is old: make docs-reference\n{text}"
        );
    }

    #[test]
    fn every_shape_that_is_named_is_there() {
        let document = document();
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().expect("an end");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
