//! Export of spans to an OpenTelemetry collector: OTLP over HTTP, as protobuf.

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// Spans that are exported; the exporter's own calls are none of them.
const SPANS: &str = "polytab_server=debug";

/// Exports until it is dropped; then once more, what is still kept.
#[derive(Debug)]
pub(crate) struct Telemetry(SdkTracerProvider);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Starts logs as `logs` filters them, and the export of spans.
///
/// # Errors
///
/// When what `OTEL_EXPORTER_OTLP_ENDPOINT` and its kind say cannot be; then there are logs all the same.
pub(crate) fn start(logs: EnvFilter, json: bool) -> anyhow::Result<Telemetry> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .build()
        .context("no spans can be exported; look at `OTEL_EXPORTER_OTLP_ENDPOINT`");
    let exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            tracing_subscriber::registry()
                .with(lines(json).with_filter(logs))
                .init();
            return Err(error);
        }
    };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(
            Resource::builder()
                .with_service_name(env!("CARGO_PKG_NAME"))
                .build(),
        )
        .build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
        .with_filter(EnvFilter::new(SPANS));
    tracing_subscriber::registry()
        .with(spans)
        .with(lines(json).with_filter(logs))
        .init();
    Ok(Telemetry(provider))
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(json: bool) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        lines.json().boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    }
}
