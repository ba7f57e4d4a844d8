//! AxonFlow's API as far as it writes: what its clients report, and what they ask to be decided.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Known`]: what is known of a workflow; ids of our own |
//! | `call.rs` | [`Call`]: every call, its path, and whether it asks for a decision |
//! | `sender.rs` | [`Sender`]: who calls, as far as the call says so |
//! | `record.rs` | a call as a neutral record: [`draft`], [`commit`] |
//! | `upstream.rs` | [`Upstream`]: the engine that decides, when one is configured |
//! | `known.rs` | [`KnownWorkflows`]: workflows that were looked up lately |
//!
//! ```text
//!                    ┌─ reports ───────────────► record ══ durable ══► answer of ours
//! call ─► API ─► Call┤
//!                    └─ asks, begins, ends ─► upstream ─► record ══ durable ══► its answer
//!                                                └─ none: 501 for what asks; the rest is recorded
//! ```
//!
//! Nothing here decides. The routes, who may use them and what is refused are the API's
//! (`api/axonflow.rs`); what the records mean stands in `config/mappings/axonflow_api.yaml`.

mod call;
mod known;
mod record;
mod sender;
mod upstream;

pub use call::{Call, InvalidId, MAX_ID_CHARS, Operation};
pub use known::{KnownWorkflows, MAX_KNOWN_WORKFLOWS};
pub use record::{Answered, Cut, Digest, Object, Report, commit, draft, elements, essence};
pub use sender::{Sender, User};
pub use upstream::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_IN_FLIGHT, DEFAULT_MAX_ANSWER_BYTES, DEFAULT_TIMEOUT, Reply,
    Unanswered, Upstream, UpstreamError, UpstreamSettings,
};

/// What every entry of a workflow carries. It does not change while the workflow lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Identifier.
    pub id: String,
    /// Name of the definition.
    pub name: Option<String>,
    /// Orchestrator.
    pub source: Option<String>,
    /// The orchestrator's own trace id.
    pub trace_id: Option<String>,
    /// Who began it.
    pub client_id: Option<String>,
    /// On whose behalf.
    pub user_id: Option<String>,
    /// That person's address.
    pub user_email: Option<String>,
}

/// An id of our own: a prefix and a UUID whose beginning is the time, so that ids sort as they
/// were made. Source: RFC 9562, section 5.7 (version 7).
///
/// # Errors
/// When the system has no random numbers.
pub fn new_id(prefix: &str, at_ns: u64) -> Result<String, getrandom::Error> {
    /// Version 7 and the variant of RFC 9562, in their places.
    const MARKS: u128 = (0x7 << 76) | (0b10 << 62);
    /// Where random bits stand: all but the time, the version and the variant.
    const RANDOM: u128 = (0xfff << 64) | 0x3fff_ffff_ffff_ffff;
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let millis = u128::from(at_ns / 1_000_000) & 0xffff_ffff_ffff;
    let bits = (millis << 80) | MARKS | (u128::from_be_bytes(random) & RANDOM);
    let hex = format!("{bits:032x}");
    let part = |range| hex.get::<std::ops::Range<usize>>(range).unwrap_or_default();
    let parts = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)];
    Ok(format!("{prefix}-{}", parts.join("-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_seven_and_sort_as_they_were_made() {
        let earlier = new_id("wf", 1_795_241_529_000_000_000).unwrap();
        let later = new_id("wf", 1_795_241_529_001_000_000).unwrap();
        assert!(earlier < later, "{earlier} {later}");
        assert_eq!((earlier.len(), earlier.get(17..18)), (39, Some("7")), "{earlier}");
        assert!(matches!(earlier.get(22..23), Some("8" | "9" | "a" | "b")), "{earlier}");
        assert_ne!(new_id("wf", 1).unwrap(), new_id("wf", 1).unwrap());
    }
}
