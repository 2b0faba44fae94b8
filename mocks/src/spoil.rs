//! Answers that went wrong: what a fault makes of a good one.

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::order::FaultAction;

/// What a proxy answers where JSON was promised.
const PAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n";

/// What a service says when it answers with this status for reasons of its own.
pub(crate) fn refusal(service: &str, status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = match service {
        "keycloak" => json!({
            "error": "unknown_error",
            "error_description": "For more on this error consult the server log.",
        }),
        "backend" => json!({"error": {"code": 1000 + status.as_u16(), "message": reason}}),
        _ => json!({"message": format!("{} {reason}", status.as_u16())}),
    };
    (status, axum::Json(body)).into_response()
}

/// Does to a good answer what the fault wants.
pub(crate) async fn spoil(response: Response, action: FaultAction) -> Response {
    match action {
        FaultAction::Truncate => truncate(response).await,
        FaultAction::Malformed => with_body(response, PAGE),
        FaultAction::Empty => with_body(response, ""),
        FaultAction::Reorder => reorder(response).await,
        // These are done before there is an answer, or to open streams.
        FaultAction::Status(_)
        | FaultAction::Delay(_)
        | FaultAction::Hang
        | FaultAction::Reset
        | FaultAction::DropStreams
        | FaultAction::Keycloak(_)
        | FaultAction::Gitlab(_) => response,
    }
}

/// The same head over another body. The old body is dropped: a stream under it ends.
fn with_body(response: Response, body: &'static str) -> Response {
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(body))
}

/// The first half of the body, then the connection breaks. Of a stream, the first half of its first bytes.
async fn truncate(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let is_stream = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let bytes = if is_stream {
        body.into_data_stream()
            .next()
            .await
            .and_then(Result::ok)
            .unwrap_or_default()
    } else {
        whole(body).await
    };
    if !is_stream {
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len().max(1)));
    }
    Response::from_parts(head, broken(bytes[..bytes.len() / 2].to_vec()))
}

/// A JSON list the other way round; anything else as it is.
async fn reorder(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = whole(body).await;
    let Ok(Value::Array(mut items)) = serde_json::from_slice(&bytes) else {
        return Response::from_parts(head, Body::from(bytes));
    };
    items.reverse();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(Value::Array(items).to_string()))
}

/// A whole body of ours, which is in memory and cannot fail.
async fn whole(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}

/// A body that breaks off after these bytes.
pub(crate) fn broken(bytes: Vec<u8>) -> Body {
    let start = stream::iter([Ok(bytes)]);
    let end = stream::once(async {
        // The bytes before must be on their way when the connection ends.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut off on order"))
    });
    Body::from_stream(start.chain(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spoilt(body: &'static str, action: FaultAction) -> (Response, Result<String, ()>) {
        let good = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
        let (head, body) = spoil(good, action).await.into_parts();
        let bytes = to_bytes(body, 1 << 16).await.map_err(|_| ());
        let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        (Response::from_parts(head, Body::empty()), text)
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_spoils_the_body_in_its_way() {
        for (action, text) in [
            (FaultAction::Truncate, Err(())),
            (FaultAction::Malformed, Ok(PAGE.to_owned())),
            (FaultAction::Empty, Ok(String::new())),
            (FaultAction::Reorder, Ok("[2,1]".to_owned())),
        ] {
            let (head, found) = spoilt("[1,2]", action).await;

            assert_eq!(found, text, "{action}");
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["content-type"], "application/json");
        }
    }

    #[test]
    fn each_service_refuses_in_its_own_words() {
        for (service, kind) in [
            ("keycloak", "application/json"),
            ("backend", "application/json"),
            ("gitlab", "application/json"),
        ] {
            let response = refusal(service, 503);

            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["content-type"], kind, "{service}");
        }
    }
}
