//! What an operator can say about protection: the `audit:` block of the configuration.
//!
//! ```yaml
//! audit:
//!   sink: append_only            # the only value; a ledger that forgets is not evidence
//!   retention_days: 184          # default; less is allowed and warned about
//!   redact_fields: [email, phone, card_number]
//!   redact_credentials: true     # default
//!   hash_args: true              # arguments of tools: keyed hash only
//!   sign_events: true            # so it is always: a signed checkpoint covers each entry
//!   payloads:
//!     mode: redact               # default; or hash, or full
//!     kinds: { reasoning: hash }
//!     tenants:
//!       acme: { mode: hash, kinds: { prompt: redact } }
//!   subject: [user.id]           # whose key seals in mode full; the first field that is there
//!   payload_names:               # replaces the built-in list of that kind
//!     prompt: ["gen_ai.input.messages", "llm.input_messages.*"]
//! ```

use super::payload_names::PayloadNames;
use super::subject_field::SubjectField;
use crate::access::{InvalidTenant, Tenant};
use crate::entry::PayloadKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Default and least retention that is not warned about, days. Articles 19 and 26(6) of the EU AI
/// Act say at least six months; six months can be 184 days.
pub const DEFAULT_RETENTION_DAYS: u32 = 184;

/// Most names in [`Settings::redact_fields`]: they are searched for in every entry.
pub const MAX_REDACT_FIELDS: usize = 64;

/// Most fields in [`Settings::subject`]: each is looked at in every entry with a sealed payload.
pub const MAX_SUBJECT_FIELDS: usize = 8;

/// Longest name in [`Settings::redact_fields`], bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 128;

/// What happens to the text of a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadMode {
    /// The text is dropped, its keyed hash stays.
    Hash,
    /// The text stays after redaction, beside its keyed hash.
    #[default]
    Redact,
    /// As [`Hash`](Self::Hash) in the body; beside it the exact text and the text after redaction,
    /// sealed under the subject's key.
    Full,
}

/// How entries are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// Entries are added and never changed.
    #[default]
    AppendOnly,
}

/// Modes of payloads: for all, or for one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Modes {
    /// Mode of every kind that is not named; for a tenant, absent means "as for all".
    pub mode: Option<PayloadMode>,
    /// Modes of single kinds.
    pub kinds: HashMap<PayloadKind, PayloadMode>,
}

/// `audit.payloads`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PayloadSettings {
    /// Mode of every kind that is not named.
    pub mode: PayloadMode,
    /// Modes of single kinds.
    pub kinds: HashMap<PayloadKind, PayloadMode>,
    /// What is different for a tenant, by its name.
    pub tenants: BTreeMap<String, Modes>,
}

/// The `audit:` block.
///
/// ```
/// use spanledger::protect::Settings;
/// let settings: Settings = serde_json::from_str(
///     r#"{"sink":"append_only","retention_days":180,"redact_fields":["email"],"hash_args":true}"#,
/// )?;
/// let (settings, notices) = settings.validate()?;
/// assert!(settings.hash_args);
/// assert!(notices[0].to_string().contains("184"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `append_only`.
    pub sink: SinkKind,
    /// How long entries are kept, days.
    pub retention_days: u32,
    /// Fields whose values are replaced: a name matches the last part of a key or the whole dotted
    /// key, in any case. `card_number` also finds card numbers in text, when they are written with
    /// separators.
    pub redact_fields: Vec<String>,
    /// Whether credentials in values are found and replaced.
    pub redact_credentials: bool,
    /// Arguments of tools are kept as keyed hash only, whatever the modes say.
    pub hash_args: bool,
    /// Producers want signed events. A signed checkpoint covers each in any case.
    pub sign_events: bool,
    /// Modes of payloads.
    pub payloads: PayloadSettings,
    /// Fields that name the person whose key seals an entry's payloads in mode `full`; the first
    /// that is there counts. Without any, the key of the tenant does.
    pub subject: Vec<SubjectField>,
    /// Names under which payloads stand outside `audit.payload`, by kind. A kind that is named
    /// here replaces the built-in list of that kind. `*` at the end matches any rest.
    pub payload_names: HashMap<PayloadKind, Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sink: SinkKind::AppendOnly,
            retention_days: DEFAULT_RETENTION_DAYS,
            redact_fields: Vec::new(),
            redact_credentials: true,
            hash_args: false,
            sign_events: false,
            payloads: PayloadSettings::default(),
            subject: vec![SubjectField::UserId],
            payload_names: HashMap::new(),
        }
    }
}

/// Something that an operator should know about accepted settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The retention is short.
    #[error(
        "audit.retention_days is {0}; articles 19 and 26(6) of the EU AI Act ask for at least six months, \
         which can be {DEFAULT_RETENTION_DAYS} days"
    )]
    ShortRetention(u32),
    /// Originals are kept.
    #[error(
        "audit.payloads has mode full: exact payloads are kept, sealed under a key for each {}; back the folder of \
         keys up apart from the data, because without a key its payloads are gone, and with an old copy of it they \
         are not erased", if *named { "subject that audit.subject names" } else { "tenant" }
    )]
    Sealed {
        /// Whether some field names subjects.
        named: bool,
    },
    /// Credentials are not looked for.
    #[error(
        "audit.redact_credentials is false: passwords, keys and tokens in spans are stored as they come"
    )]
    CredentialsKept,
}

/// Why settings are not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing would be kept.
    #[error("audit.retention_days must be at least 1; leave it out for {DEFAULT_RETENTION_DAYS}")]
    NoRetention,
    /// A name in `redact_fields` cannot be one.
    #[error(
        "audit.redact_fields has {0:?}: a name has 1 to {MAX_FIELD_NAME_BYTES} bytes, no quotes, backslashes or \
         control characters, and does not start or end with a dot"
    )]
    FieldName(String),
    /// Too many names.
    #[error("audit.redact_fields has {0} names, the limit is {MAX_REDACT_FIELDS}")]
    TooManyFields(usize),
    /// Too many fields.
    #[error("audit.subject has {0} fields, the limit is {MAX_SUBJECT_FIELDS}")]
    TooManySubjects(usize),
    /// A name in `payload_names` cannot be one.
    #[error("audit.payload_names has {0:?}: a name is not empty and has `*` only at its end")]
    PayloadName(String),
    /// A tenant's name cannot be one.
    #[error("audit.payloads.tenants names a tenant that cannot exist")]
    Tenant(#[from] InvalidTenant),
}

impl Settings {
    /// Checks what types cannot say, and tells what an operator should know.
    ///
    /// # Errors
    /// [`SettingsError`], with the key to change.
    pub fn validate(mut self) -> Result<(Self, Vec<Notice>), SettingsError> {
        if self.retention_days == 0 {
            return Err(SettingsError::NoRetention);
        }
        for name in &mut self.redact_fields {
            let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
            let dotted = name.starts_with('.') || name.ends_with('.');
            if name.is_empty()
                || name.len() > MAX_FIELD_NAME_BYTES
                || dotted
                || !name.chars().all(plain)
            {
                return Err(SettingsError::FieldName(name.clone()));
            }
            *name = name.to_lowercase();
        }
        self.redact_fields.sort_unstable();
        self.redact_fields.dedup();
        if self.redact_fields.len() > MAX_REDACT_FIELDS {
            return Err(SettingsError::TooManyFields(self.redact_fields.len()));
        }
        if self.subject.len() > MAX_SUBJECT_FIELDS {
            return Err(SettingsError::TooManySubjects(self.subject.len()));
        }
        if let Some(name) =
            self.payload_names.values().flatten().find(|name| !PayloadNames::is_legal(name))
        {
            return Err(SettingsError::PayloadName(name.clone()));
        }
        for name in self.payloads.tenants.keys() {
            Tenant::new(name)?;
        }
        let notices = self.notices();
        Ok((self, notices))
    }

    fn notices(&self) -> Vec<Notice> {
        let short = self.retention_days < DEFAULT_RETENTION_DAYS;
        [
            short.then_some(Notice::ShortRetention(self.retention_days)),
            (!self.redact_credentials).then_some(Notice::CredentialsKept),
            self.seals().then_some(Notice::Sealed { named: !self.subject.is_empty() }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether payloads of anybody are sealed.
    pub fn seals(&self) -> bool {
        let tenants = self.payloads.tenants.values();
        let mut tables = tenants.map(|own| self.resolve(Some(own)));
        self.common_modes().has(PayloadMode::Full) || tables.any(|it| it.has(PayloadMode::Full))
    }

    /// The modes of a tenant, resolved: its kind, its own, everybody's kind, everybody's.
    pub fn modes(&self, tenant: &Tenant) -> ModeTable {
        self.resolve(self.payloads.tenants.get(tenant.name()))
    }

    /// The modes of tenants that have none of their own.
    pub fn common_modes(&self) -> ModeTable {
        self.resolve(None)
    }

    fn resolve(&self, own: Option<&Modes>) -> ModeTable {
        let mut table = ModeTable::default();
        for (kind, mode) in PAYLOAD_KINDS.iter().zip(&mut table.0) {
            *mode = own
                .and_then(|own| own.kinds.get(kind).copied().or(own.mode))
                .or_else(|| self.payloads.kinds.get(kind).copied())
                .unwrap_or(self.payloads.mode);
            if self.hash_args && *kind == PayloadKind::Arguments {
                *mode = PayloadMode::Hash;
            }
        }
        table
    }
}

/// Every kind of payload, in the order of [`commitment_kind`].
pub(super) const PAYLOAD_KINDS: [PayloadKind; 8] = [
    PayloadKind::Prompt,
    PayloadKind::System,
    PayloadKind::Response,
    PayloadKind::Reasoning,
    PayloadKind::Arguments,
    PayloadKind::Result,
    PayloadKind::Input,
    PayloadKind::Output,
];

/// The number of a payload's kind in a commitment. Part of the ledger's format: never renumbered.
pub const fn commitment_kind(kind: PayloadKind) -> u8 {
    match kind {
        PayloadKind::Prompt => 1,
        PayloadKind::System => 2,
        PayloadKind::Response => 3,
        PayloadKind::Reasoning => 4,
        PayloadKind::Arguments => 5,
        PayloadKind::Result => 6,
        PayloadKind::Input => 7,
        PayloadKind::Output => 8,
    }
}

/// The kind of payload that a number in a commitment stands for.
pub fn payload_kind(number: u8) -> Option<PayloadKind> {
    PAYLOAD_KINDS.into_iter().find(|kind| commitment_kind(*kind) == number)
}

/// The mode of each kind of payload for one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModeTable([PayloadMode; PAYLOAD_KINDS.len()]);

impl ModeTable {
    /// The mode of that kind.
    pub fn of(&self, kind: PayloadKind) -> PayloadMode {
        let at = usize::from(commitment_kind(kind)).saturating_sub(1);
        self.0.get(at).copied().unwrap_or(PayloadMode::Hash)
    }

    /// Whether some kind is kept in that mode.
    pub fn has(&self, mode: PayloadMode) -> bool {
        self.0.contains(&mode)
    }

    /// Whether the text of some kind leaves the body.
    pub fn any_taken(&self) -> bool {
        self.has(PayloadMode::Hash) || self.has(PayloadMode::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_words_of_the_runtime_journal_are_understood() {
        let settings = parse(
            r#"{"sink":"append_only","retention_days":180,
                "redact_fields":["Email","phone","card_number"],"hash_args":true,"sign_events":true}"#,
        );
        let (settings, notices) = settings.validate().unwrap();
        assert_eq!(settings.redact_fields, ["card_number", "email", "phone"]);
        assert_eq!(notices, [Notice::ShortRetention(180)]);
    }

    #[test]
    fn the_default_is_legal_and_silent() {
        let (settings, notices) = parse("{}").validate().unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!((settings.retention_days, notices.len()), (184, 0));
        assert!(settings.redact_credentials);
    }

    #[test]
    fn what_is_not_in_the_block_is_refused() {
        for json in [
            r#"{"sink":"ring_buffer"}"#,
            r#"{"retention":3}"#,
            r#"{"payloads":{"mode":"none"}}"#,
            r#"{"subject":["password"]}"#,
            r#"{"payloads":{"kinds":{"prompts":"hash"}}}"#,
        ] {
            assert!(serde_json::from_str::<Settings>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        for (json, word) in [
            (r#"{"retention_days":0}"#, "retention_days"),
            (r#"{"redact_fields":[""]}"#, "redact_fields"),
            (r#"{"redact_fields":["a\"b"]}"#, "redact_fields"),
            (r#"{"redact_fields":[".email"]}"#, "redact_fields"),
            (r#"{"payload_names":{"prompt":["a*b"]}}"#, "payload_names"),
            (r#"{"payloads":{"tenants":{"a/b":{}}}}"#, "tenants"),
        ] {
            let error = parse(json).validate().unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
        }
        let many: Vec<_> = (0..=MAX_REDACT_FIELDS).map(|n| format!("f{n}")).collect();
        let settings = Settings { redact_fields: many, ..Settings::default() };
        assert_eq!(settings.validate(), Err(SettingsError::TooManyFields(65)));
    }

    #[test]
    fn the_nearest_mode_holds() {
        let settings = parse(
            r#"{"payloads":{"mode":"redact","kinds":{"reasoning":"hash"},
                "tenants":{"acme":{"mode":"hash","kinds":{"prompt":"redact"}},"b":{}}}}"#,
        );
        let of = |tenant, kind| settings.modes(&Tenant::new(tenant).unwrap()).of(kind);
        assert_eq!(of("acme", PayloadKind::Prompt), PayloadMode::Redact);
        assert_eq!(of("acme", PayloadKind::Result), PayloadMode::Hash);
        assert_eq!(of("acme", PayloadKind::Reasoning), PayloadMode::Hash);
        assert_eq!(of("b", PayloadKind::Reasoning), PayloadMode::Hash);
        assert_eq!(of("b", PayloadKind::Prompt), PayloadMode::Redact);
        assert_eq!(of("c", PayloadKind::Prompt), PayloadMode::Redact);
    }

    #[test]
    fn hash_args_holds_whatever_the_modes_say() {
        let mut settings = parse(r#"{"payloads":{"kinds":{"arguments":"redact"}}}"#);
        settings.hash_args = true;
        let modes = settings.modes(&Tenant::default());
        assert_eq!(modes.of(PayloadKind::Arguments), PayloadMode::Hash);
        assert_eq!(modes.of(PayloadKind::Result), PayloadMode::Redact);
    }

    #[test]
    fn who_seals_is_told_what_it_means() {
        for (json, word) in [
            (r#"{"payloads":{"mode":"full"}}"#, "each subject"),
            (r#"{"payloads":{"kinds":{"prompt":"full"}},"subject":[]}"#, "each tenant"),
            (r#"{"payloads":{"tenants":{"acme":{"mode":"full"}}}}"#, "each subject"),
        ] {
            let (settings, notices) = parse(json).validate().unwrap();
            assert!(settings.seals());
            assert!(notices[0].to_string().contains(word), "{json}: {}", notices[0]);
        }
        assert!(!Settings::default().seals());
    }

    #[test]
    fn each_kind_has_its_own_number() {
        for (at, kind) in PAYLOAD_KINDS.into_iter().enumerate() {
            assert_eq!(usize::from(commitment_kind(kind)), at + 1);
            assert_eq!(payload_kind(commitment_kind(kind)), Some(kind));
        }
        assert_eq!(payload_kind(0), None);
    }
}
