//! What the process tells about itself: events to standard error, metrics for Prometheus.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Names of the metrics; all are described where the recorder is installed.
pub mod names {
    /// Requests answered, by method, route and status.
    pub const HTTP_REQUESTS: &str = "doppel_http_requests_total";
    /// Time from a request's head to its answer's head, by route.
    pub const HTTP_SECONDS: &str = "doppel_http_request_duration_seconds";
    /// Images uploaded, by what became of them.
    pub const INGESTED: &str = "doppel_images_ingested_total";
    /// Time of one stage (`analyse`, `candidates`, `verify`, `append`).
    pub const STAGE_SECONDS: &str = "doppel_stage_duration_seconds";
    /// Images decoded and embedded together.
    pub const BATCH_IMAGES: &str = "doppel_batch_images";
    /// Images waiting to be analysed.
    pub const QUEUE_IMAGES: &str = "doppel_queue_images";
    /// Images stored, by collection.
    pub const STORED_IMAGES: &str = "doppel_stored_images";
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is no `EnvFilter`.
    #[error("the log filter {filter:?} cannot be read: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong.
        reason: String,
    },
    /// A recorder or subscriber of someone else is installed in this process.
    #[error("telemetry is installed already: {reason}")]
    Installed {
        /// What the library said.
        reason: String,
    },
}

/// Sends events to standard error, in the form and with the filter of `log`. Once a process.
///
/// # Errors
/// [`TelemetryError`].
pub fn start_log(log: &Log) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| TelemetryError::Filter {
        filter: log.filter.clone(),
        reason: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| TelemetryError::Installed {
        reason: error.to_string(),
    })
}

/// The metrics of this process, in Prometheus' text form.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder at the first call; later calls give the same metrics.
    ///
    /// # Errors
    /// [`TelemetryError::Installed`] when another recorder was installed before.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
        INSTALLED
            .get_or_init(|| {
                let handle = builder()
                    .and_then(PrometheusBuilder::install_recorder)
                    .map_err(|e| e.to_string())?;
                describe();
                Ok(handle)
            })
            .clone()
            .map(Self)
            .map_err(|reason| TelemetryError::Installed { reason })
    }

    /// All metrics now, in the text exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds recent samples into the histograms; called from time to time, or memory grows with every sample.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// How often [`Metrics::upkeep`] wants to be called.
    pub const UPKEEP: Duration = Duration::from_secs(5);
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    const SECONDS: [f64; 14] = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
    ];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(
            Matcher::Full(names::BATCH_IMAGES.to_owned()),
            &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
        )
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        names::HTTP_REQUESTS,
        "Requests answered, by method, route and status"
    );
    describe_histogram!(
        names::HTTP_SECONDS,
        Unit::Seconds,
        "Time from a request's head to its answer's head, by route"
    );
    describe_counter!(names::INGESTED, "Images uploaded, by what became of them");
    describe_histogram!(
        names::STAGE_SECONDS,
        Unit::Seconds,
        "Time of one stage of ingest or search"
    );
    describe_histogram!(names::BATCH_IMAGES, "Images decoded and embedded together");
    describe_gauge!(names::QUEUE_IMAGES, "Images waiting to be analysed");
    describe_gauge!(names::STORED_IMAGES, "Images stored, by collection");
}
