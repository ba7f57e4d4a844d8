//! From a request to what stands in the ledger: each record that is decoded becomes an entry, and
//! what is written of it is one JSON document without the credential that the seeds carry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use spanledger::access::Tenant;
use spanledger::convert::{Mappings, ResourceContext, ScopeContext};
use spanledger::protect::{Keys, Protector, Settings, TenantProtector};
use spanledger::receiver::otlp::{Format, Signal, decode};
use spanledger::span::{Record, Refusal, Resource, Scope, Sink};
use std::sync::LazyLock;

static MAPPINGS: LazyLock<Mappings> =
    LazyLock::new(|| Mappings::builtin().expect("the mappings that are compiled in are sound"));

static PROTECTOR: LazyLock<TenantProtector> = LazyLock::new(|| {
    let settings = Settings {
        redact_fields: vec!["email".to_owned(), "card_number".to_owned()],
        ..Settings::default()
    };
    let keys = Keys::from_root(&[7; 32]);
    let protector = Protector::new(&settings, keys).expect("two fields can be searched for");
    protector.tenant(&Tenant::default())
});

/// A text that is nothing but a credential, as GitHub makes them: no string of an entry is that.
const CANARY: &str = "\"ghp_16C7e42F292c6912E7710c838347Ae178B4a\"";

fuzz_target!(|request: &[u8]| {
    let format = if request.first() == Some(&b'{') { Format::Json } else { Format::Protobuf };
    for signal in [Signal::Traces, Signal::Logs] {
        let mut written = Written {
            resource: MAPPINGS.resource(&Resource::default()),
            scope: MAPPINGS.scope(&Scope::default()),
        };
        let _ = decode(signal, format, request, &mut written);
    }
});

struct Written {
    resource: ResourceContext,
    scope: ScopeContext,
}

impl Sink for Written {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.resource = MAPPINGS.resource(resource);
    }
    fn scope(&mut self, scope: &Scope<'_>) {
        self.scope = MAPPINGS.scope(scope);
    }
    fn record(&mut self, record: Record<'_, '_>) {
        let mut converted = MAPPINGS.convert(&self.resource, &self.scope, record);
        for entry in converted.further.iter_mut().chain([&mut converted.entry]) {
            let mut body = Vec::new();
            PROTECTOR.write(entry, &mut body).expect("every entry can be written");
            let body = std::str::from_utf8(&body).expect("a body is text");
            let json = serde_json::from_str::<IgnoredAny>(body);
            assert!(json.is_ok(), "{json:?}: {body}");
            assert!(!body.contains(CANARY), "{body}");
        }
    }
    fn refuse(&mut self, _: Refusal) {}
}
