//! The numbers of every module in the OpenMetrics text format.
//!
//! Modules count in plain atomics. Nothing is registered and nothing is kept here: when somebody
//! asks, the numbers are read and written down.

use super::log_metrics;
use crate::access::{Tls, TlsStatus};
use crate::api::Load;
use crate::elasticsearch::late::LateStatus;
use crate::elasticsearch::{
    Client, Exporter, ExporterState, ExporterStatus, LATENCY_BUCKETS_MS, Latency, StoreStatus,
};
use crate::export::{AlertStatus, ConsumerStatus};
use crate::intake::Intake;
use crate::ledger::{Ledger, Reader};
use crate::pipeline::{Pipeline, Published, UpkeepStatus};
use crate::receiver::{HandshakeFailure, LimitHit, Receiver};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the numbers come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What the API refuses for its load.
    pub api: Arc<Load>,
    /// What came in.
    pub receiver: Receiver,
    /// What became of it.
    pub intake: Intake,
    /// Where it is.
    pub ledger: Ledger,
    /// Who reads it, by name.
    pub consumers: Vec<(&'static str, Arc<ConsumerStatus>)>,
    /// The export to Elasticsearch, if there is one.
    pub exporter: Option<Exporter<Client>>,
    /// What gives documents late ids, if it runs.
    pub late: Option<Arc<LateStatus>>,
    /// Questions answered from the cluster, if they are.
    pub reader: Option<Arc<StoreStatus>>,
    /// What became of alerts.
    pub alerts: Vec<Arc<AlertStatus>>,
    /// What the upkeep of old segments did.
    pub upkeep: Arc<UpkeepStatus>,
    /// The public log.
    pub published: Published,
    /// TLS of the listeners, if they speak it.
    pub tls: Option<Arc<Tls>>,
}

impl Sources {
    /// The numbers of a pipeline, of what sends into it and of what is asked of it.
    pub fn of(
        pipeline: &Pipeline,
        receiver: &Receiver,
        api: Arc<Load>,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self {
            api,
            receiver: receiver.clone(),
            intake: pipeline.intake().clone(),
            ledger: pipeline.ledger().clone(),
            consumers: pipeline.progress().to_vec(),
            exporter: pipeline.exporter().cloned(),
            late: pipeline.late().cloned(),
            reader: pipeline.reader().cloned(),
            alerts: pipeline.alerts().to_vec(),
            upkeep: Arc::clone(pipeline.upkeep()),
            published: pipeline.published(),
            tls,
        }
    }

    /// The numbers as they are now. Reads an entry for each consumer that is behind: not for a
    /// thread that others need.
    pub fn text(&self) -> String {
        let mut page = Page(Registry::with_prefix("spanledger"));
        self.intake(&mut page);
        self.subject_keys(&mut page);
        self.receiver(&mut page);
        self.ledger(&mut page);
        log_metrics::upkeep(&self.upkeep, &mut page);
        self.consumers(&mut page);
        let watermark = self.ledger.reader().watermark();
        log_metrics::public_log(self.published.status(), watermark, &mut page);
        if let Some(exporter) = &self.exporter {
            exporter_numbers(exporter.status(), exporter.dead_letters().len() as u64, &mut page);
        }
        if let Some(late) = &self.late {
            late_numbers(late, &mut page);
        }
        if let Some(reader) = &self.reader {
            reader_numbers(reader, &mut page);
        }
        if !self.alerts.is_empty() {
            self.alert_numbers(&mut page);
        }
        if let Some(tls) = &self.tls {
            self.handshakes(&mut page);
            tls_numbers(tls.status(), &mut page);
        }
        let mut text = String::new();
        // Writing to a string cannot fail; half a page would be worse than none.
        if encode(&mut text, &page.0).is_err() {
            text.clear();
        }
        text
    }

    fn intake(&self, page: &mut Page) {
        let counts = self.intake.counts();
        page.count("intake_entries", "New entries that are durable", load(&counts.appended));
        page.count(
            "intake_duplicates",
            "Records that were durable already",
            load(&counts.duplicates),
        );
        page.count(
            "intake_records_refused",
            "Records that will never be accepted",
            load(&counts.refused),
        );
        page.count(
            "intake_requests_rejected",
            "Requests refused as a whole",
            load(&counts.rejected_requests),
        );
        page.count(
            "intake_rejections_withheld",
            "Refused requests without an entry of their own because of the rate limit",
            load(&counts.rejections_withheld),
        );
    }

    fn subject_keys(&self, page: &mut Page) {
        let keys = self.intake.protector().keys().subjects();
        let counts = keys.counts();
        page.count("subject_keys_created", "Keys made for subjects", load(&counts.created));
        page.count("subject_keys_destroyed", "Keys destroyed to erase", load(&counts.destroyed));
        page.gauge("subject_keys_cached", "Keys of subjects in memory", keys.cached() as u64);
    }

    fn receiver(&self, page: &mut Page) {
        let metrics = self.receiver.metrics();
        page.count("receiver_requests", "Requests answered", load(&metrics.requests));
        page.count(
            "receiver_requests_refused",
            "Requests of which nothing was accepted",
            load(&metrics.requests_refused),
        );
        page.count(
            "receiver_spans_accepted",
            "Spans that are durable",
            load(&metrics.spans_accepted),
        );
        page.count(
            "receiver_logs_accepted",
            "Log records that are durable",
            load(&metrics.logs_accepted),
        );
        page.count(
            "receiver_received_bytes",
            "Body bytes as they were sent",
            load(&metrics.bytes_received),
        );
        page.count(
            "receiver_decoded_bytes",
            "Body bytes after decompression",
            load(&metrics.bytes_decoded),
        );
        page.count("receiver_connections", "Connections accepted", load(&metrics.connections));
        page.count(
            "receiver_connections_evicted",
            "Idle connections that made room for new ones",
            load(&metrics.connections_evicted),
        );
        let budget = self.receiver.budget();
        page.gauge(
            "receiver_memory_used_bytes",
            "Memory held by requests in flight",
            budget.used() as u64,
        );
        page.gauge(
            "receiver_memory_limit_bytes",
            "Memory that requests in flight may hold",
            budget.limit() as u64,
        );
        let hits = LimitHit::ALL.map(|limit| (limit.name(), metrics.hits(limit)));
        let hits: Vec<_> = hits.into_iter().chain(self.api.hits()).collect();
        page.counts("limit_hits", "Times that a limit was hit", "limit", &hits);
        let denied: Vec<_> = metrics.denied.read().collect();
        page.counts(
            "receiver_denied",
            "Requests whose credential did not let them in",
            "reason",
            &denied,
        );
        let denied: Vec<_> = self.api.denied.read().collect();
        page.counts("api_denied", "Questions that nobody may ask", "reason", &denied);
    }

    fn alert_numbers(&self, page: &mut Page) {
        let sum = |of: fn(&AlertStatus) -> &AtomicU64| {
            self.alerts.iter().map(|alert| load(of(alert))).fold(0, u64::saturating_add)
        };
        page.count("alerts_told", "Entries that webhooks were told of", sum(|a| &a.told));
        page.count(
            "alerts_not_told",
            "Entries whose alert was given up, or that a message only counted",
            sum(|a| &a.not_told),
        );
        page.count("alert_failures", "Posts that a webhook did not take", sum(|a| &a.failures));
    }

    fn handshakes(&self, page: &mut Page) {
        let metrics = self.receiver.metrics();
        let failed = HandshakeFailure::ALL.map(|why| (why.name(), metrics.handshakes_failed(why)));
        let help = "TLS connections that did not come about";
        page.counts("tls_handshake_failures", help, "reason", &failed);
    }

    fn ledger(&self, page: &mut Page) {
        let status = self.ledger.status();
        page.gauge("ledger_entries", "Entries that are durable", status.head.size);
        page.gauge("ledger_segments", "Segment files", status.segments as u64);
        page.gauge(
            "ledger_queue_batches",
            "Batches that wait for the writer",
            status.queue_batches as u64,
        );
        page.gauge(
            "ledger_queue_bytes",
            "Bytes that wait for the writer",
            status.queue_bytes as u64,
        );
        page.gauge(
            "ledger_poisoned",
            "1 after a storage failure: nothing is acknowledged any more",
            u64::from(status.poisoned.is_some()),
        );
        page.gauge(
            "ledger_disk_full",
            "1 while there is no space to write",
            u64::from(status.disk_full.is_some()),
        );
        page.gauge(
            "ledger_reserve_present",
            "1 while the reserve for an orderly end is there",
            u64::from(status.reserve),
        );
        page.gauge(
            "ledger_duplicate_window_entries",
            "Ids that are remembered",
            status.window as u64,
        );
        let counters = status.counters;
        page.count(
            "ledger_conflicts",
            "Entries with the span of an earlier one and other content",
            counters.conflicts,
        );
        page.count("ledger_written_bytes", "Bytes written to segments", counters.bytes_written);
        page.count("ledger_groups", "Groups written, one fdatasync each", counters.groups);
        page.count(
            "ledger_disk_full_groups",
            "Groups for which there was no space",
            counters.disk_full,
        );
        page.seconds("ledger_sync", "Time spent in fdatasync", counters.sync_total.as_secs_f64());
    }

    fn consumers(&self, page: &mut Page) {
        let of = |number: fn(&ConsumerStatus) -> u64| -> Vec<(&'static str, u64)> {
            self.consumers.iter().map(|(name, progress)| (*name, number(progress))).collect()
        };
        let reader = self.ledger.reader();
        let (mut behind, mut bytes, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        for (name, arrived) in of(ConsumerStatus::arrived) {
            behind.push((name, reader.watermark().saturating_sub(arrived)));
            // What cannot be read is not said; the ledger's own numbers tell of that.
            bytes.extend(reader.bytes_from(arrived).ok().map(|bytes| (name, bytes)));
            ages.extend(age(&reader, arrived).map(|age| (name, age)));
        }
        let help = "Durable entries that have not arrived where the consumer brings them";
        page.gauges("consumer_lag_entries", help, "consumer", &behind);
        let help = "Bytes of the ledger from the first of them on";
        page.gauges("consumer_lag_bytes", help, "consumer", &bytes);
        let help = "Time since the oldest of them was received; 0 for none";
        page.ages("consumer_lag", help, "consumer", &ages);
        page.counts(
            "consumer_entries",
            "Entries applied",
            "consumer",
            &of(ConsumerStatus::applied),
        );
        let help = "Attempts that failed and are repeated";
        page.counts("consumer_failures", help, "consumer", &of(ConsumerStatus::failures));
    }
}

/// How long ago the entry at `sequence` was received: zero when there is none yet, `None` when it
/// cannot be read. Reads the disk.
fn age(reader: &Reader, sequence: u64) -> Option<Duration> {
    let Some(entry) = reader.get(sequence).ok()? else { return Some(Duration::ZERO) };
    let received = UNIX_EPOCH.checked_add(Duration::from_nanos(entry.received_ns))?;
    // A clock that was set back makes it none.
    Some(SystemTime::now().duration_since(received).unwrap_or_default())
}

/// The export to Elasticsearch.
fn exporter_numbers(status: &ExporterStatus, dead_letters: u64, page: &mut Page) {
    let documents = [("created", status.delivered()), ("already_there", status.already_there())];
    let help = "Documents that are in the cluster";
    page.counts("elasticsearch_documents", help, "outcome", &documents);
    page.count(
        "elasticsearch_lookups",
        "Requests to look up which entries in doubt are there already",
        status.lookups(),
    );
    let help = "Documents that such a request found: they were not sent again";
    page.count("elasticsearch_found_by_lookup", help, status.found_by_lookup());
    page.count("elasticsearch_requests", "Bulk requests sent", status.requests());
    let retries = [
        ("entry", status.retried()),
        ("in_doubt", status.in_doubt()),
        ("halved", status.halved()),
        ("unresolved", status.unresolved()),
    ];
    let help = "Entries sent again; requests in doubt, halved, sent again without a lookup";
    page.counts("elasticsearch_retries", help, "reason", &retries);
    page.named_counts(
        "elasticsearch_dead_letters",
        "Entries that the cluster refused, by type of error",
        "reason",
        &status.dead_letters_by_type(),
    );
    page.gauge("elasticsearch_dead_letters_open", "Dead letters not replayed yet", dead_letters);
    page.count("elasticsearch_sent_bytes", "Bytes of bulk bodies, as sent", status.bytes_sent());
    page.gauge("elasticsearch_in_flight", "Bulk requests in flight", status.in_flight());
    page.gauge("elasticsearch_in_flight_limit", "How many may be", status.in_flight_limit());
    page.gauge("elasticsearch_batch_bytes", "Size of a bulk request now", status.batch_bytes());
    page.gauge("elasticsearch_held_bytes", "Bytes of entries held in memory", status.held_bytes());
    let state = status.state();
    let is = |known: &ExporterState| (known.as_str(), u64::from(*known == state));
    let known: Vec<_> = ExporterState::ALL.iter().map(is).collect();
    page.gauges("elasticsearch_state", "1 for what it is doing", "state", &known);
    page.latency("elasticsearch_bulk", "Time to the reply of a bulk", &status.latency());
}

/// What the listeners serve.
fn tls_numbers(status: &TlsStatus, page: &mut Page) {
    page.gauge(
        "tls_certificate_expires_timestamp_seconds",
        "When the certificate that is served ends, in seconds since 1970",
        u64::try_from(status.expires()).unwrap_or_default(),
    );
    if let Some(due) = status.lists_due() {
        page.gauge(
            "tls_client_revoked_due_timestamp_seconds",
            "When the list of revoked client certificates should be replaced, in seconds since 1970",
            u64::try_from(due).unwrap_or_default(),
        );
    }
    page.count("tls_reloads", "Times that changed files were taken", status.reloads());
    let help = "1 while the files on disk cannot be used, so that the earlier ones are served";
    page.gauge("tls_files_refused", help, u64::from(status.is_stale()));
}

/// Documents that get ids afterwards.
fn late_numbers(status: &LateStatus, page: &mut Page) {
    let documents = [
        ("updated", status.updated()),
        ("conflict", status.conflicts()),
        ("unwritable", status.unwritable()),
        ("link", status.links()),
    ];
    let help = "Documents given ids, met changed, not changeable; link documents made";
    page.counts("elasticsearch_late_documents", help, "outcome", &documents);
    let bounds = [("ids_of_a_document", status.ids_cut()), ("group", status.groups_truncated())];
    let help = "Ids and groups that were cut at a bound";
    page.counts("elasticsearch_late_cut", help, "bound", &bounds);
    page.count(
        "elasticsearch_late_rounds",
        "Times that the cluster was looked at",
        status.rounds(),
    );
    page.gauge(
        "elasticsearch_late_reduced",
        "1 while the key may not read and change documents, so that there are links only",
        u64::from(status.is_reduced()),
    );
    let help = "From the receipt of a joining entry until its group has the ids";
    page.latency("elasticsearch_late_convergence", help, &status.convergence());
}

/// Questions answered from the cluster.
fn reader_numbers(status: &StoreStatus, page: &mut Page) {
    let help = "Time to the reply of a search";
    page.latency("elasticsearch_search", help, &status.latency());
    let help = "Searches without an answer";
    page.counts("elasticsearch_search_failures", help, "reason", &status.failures());
    page.count(
        "elasticsearch_points_in_time_evicted",
        "Points in time closed for others, since as many as may be were open",
        status.evicted(),
    );
    page.count(
        "elasticsearch_unreadable_documents",
        "Documents found in the data streams that are no entries of this version",
        status.unreadable(),
    );
}

/// What is written down.
pub(super) struct Page(Registry);

impl Page {
    pub(super) fn count(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) {
        self.0.register_with_unit(name, help, Unit::Seconds, ConstCounter::new(value));
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstGauge::new(signed(value)));
    }

    pub(super) fn counts(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        for (of, value) in values {
            family.get_or_create(&[(label, *of)]).inc_by(*value);
        }
        self.0.register(name, help, family);
    }

    pub(super) fn named_counts(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &BTreeMap<String, u64>,
    ) {
        let family = Family::<[(&'static str, String); 1], Counter>::default();
        for (of, value) in values {
            family.get_or_create(&[(label, of.clone())]).inc_by(*value);
        }
        self.0.register(name, help, family);
    }

    /// A histogram that was counted elsewhere.
    pub(super) fn latency(&mut self, name: &str, help: &str, latency: &Latency) {
        self.0.register_with_unit(name, help, Unit::Seconds, Buckets(latency.clone()));
    }

    pub(super) fn ages(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, Duration)],
    ) {
        let family = Family::<[(&'static str, &'static str); 1], Gauge<f64, AtomicU64>>::default();
        for (of, value) in values {
            family.get_or_create(&[(label, *of)]).set(value.as_secs_f64());
        }
        self.0.register_with_unit(name, help, Unit::Seconds, family);
    }

    pub(super) fn named_gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(String, u64)],
    ) {
        let family = Family::<[(&'static str, String); 1], Gauge>::default();
        for (of, value) in values {
            family.get_or_create(&[(label, of.clone())]).set(signed(*value));
        }
        self.0.register(name, help, family);
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) {
        let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for (of, value) in values {
            family.get_or_create(&[(label, *of)]).set(signed(*value));
        }
        self.0.register(name, help, family);
    }
}

/// Counts in buckets as the exposition format wants them.
#[derive(Debug)]
struct Buckets(Latency);

impl EncodeMetric for Buckets {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds up to 90,000 are exact")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = LATENCY_BUCKETS_MS.iter().map(|ms| *ms as f64 / 1000.0).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.buckets.iter().copied()).collect();
        let count = self.0.buckets.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.total.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

pub(super) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
