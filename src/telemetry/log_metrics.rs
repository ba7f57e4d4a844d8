//! Numbers of the public log, of those who sign and keep its checkpoints, and of the upkeep of segments.

use super::metrics::{Page, load};
use crate::pipeline::{Outlet, Outlets, PublishStatus, UpkeepStatus};

/// The public log, and those who sign and keep its checkpoints. `watermark`: entries that are durable.
pub(super) fn public_log(status: &PublishStatus, watermark: u64, page: &mut Page) {
    let published = status.published().map_or(0, |head| head.size);
    page.gauge("public_log_entries", "Entries that the last signed checkpoint covers", published);
    let waits = watermark.saturating_sub(published);
    let help = "Durable entries that no signed checkpoint covers yet";
    page.gauge("public_log_uncovered_entries", help, waits);
    let waiting = u64::try_from(status.uncovered().as_millis()).unwrap_or(u64::MAX);
    let help = "Time for which the oldest of them waits, milliseconds";
    page.gauge("public_log_uncovered_milliseconds", help, waiting);
    let held_up = u64::from(status.trouble().is_some());
    page.gauge("public_log_held_up", "1 while nothing is signed; /readyz says why", held_up);
    let help = "Checkpoints that were signed and published";
    page.count("public_log_checkpoints", help, load(&status.checkpoints));
    let help = "Times that a checkpoint could not be published";
    page.count("public_log_failures", help, load(&status.failures));
    let help = "Times that tiles were made anew from the ledger";
    page.count("public_log_rebuilds", help, load(&status.rebuilds));
    let help = "Signatures that witnesses gave";
    page.count("public_log_cosignatures", help, load(&status.cosignatures));
    let help = "Times that a witness did not sign";
    page.count("public_log_witness_failures", help, load(&status.witness_failures));
    page.count("public_log_sink_writes", "Checkpoints that sinks took", load(&status.sink_writes));
    let help = "Times that a sink did not take a checkpoint";
    page.count("public_log_sink_failures", help, load(&status.sink_failures));
    outlet_numbers("witness", "did not sign", &status.witnesses, page);
    outlet_numbers("sink", "did not take", &status.sinks, page);
}

/// How it goes with each witness, or each sink.
fn outlet_numbers(what: &'static str, did_not: &str, outlets: &Outlets, page: &mut Page) {
    let outlets = outlets.list();
    let number = |of: fn(&Outlet) -> u64| -> Vec<(String, u64)> {
        outlets.iter().map(|(name, outlet)| (name.clone(), of(outlet))).collect()
    };
    let help = format!("1 while it {did_not} the last checkpoint; /readyz says why");
    let held_up = number(|outlet| u64::from(outlet.trouble.is_some()));
    page.named_gauges(&format!("public_log_{what}_held_up"), &help, what, &held_up);
    let help = "Entries that the last checkpoint covers which it took since the start";
    let entries = number(|outlet| outlet.entries);
    page.named_gauges(&format!("public_log_{what}_entries"), help, what, &entries);
}

/// The upkeep of old segments.
pub(super) fn upkeep(status: &UpkeepStatus, page: &mut Page) {
    page.count("ledger_segments_packed", "Segments that were compressed", load(&status.packed));
    let help = "Bytes on the disk that compressing and pruning segments gave back";
    page.count("ledger_freed_bytes", help, load(&status.freed_bytes));
    let help = "Entries whose bodies were taken out because their time was over";
    page.count("ledger_entries_pruned", help, load(&status.pruned));
    let help = "Times that segments could not be compressed or pruned";
    page.count("ledger_upkeep_failures", help, load(&status.failures));
    let help =
        "1 while segments cannot be compressed or pruned, or holds recorded; /readyz says why";
    page.gauge("ledger_upkeep_held_up", help, u64::from(status.trouble().is_some()));
}
