//! A user's mapping file: it is refused with its line, or converts records without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanledger::fuzzing::mapping;
use spanledger::span::{Attribute, Event, Record, Resource, Scope, Span, Value};
use std::sync::LazyLock;

/// A span with values of all types under the names that the corpus speaks of.
static SPAN: LazyLock<Span<'static>> = LazyLock::new(|| {
    let texts =
        ["llm", "TOOL", r#"{"a":{"b":[1,"x"]},"id":"7"}"#, "1.5", "a=b,c=d", "", "2026-11-21"];
    let names = ["a", "b", "kind", "decision", "metadata.x", "llm.input.0.text", "request_type"];
    let text =
        names.iter().zip(texts).map(|(name, text)| Attribute::new(*name, Value::Text(text.into())));
    let others = [
        Attribute::new("n", Value::Int(-7)),
        Attribute::new("d", Value::Double(f64::NAN)),
        Attribute::new("t", Value::Bool(true)),
        Attribute::new("list", Value::List(vec![Value::Int(1), Value::Empty])),
        Attribute::new("map", Value::Map(vec![Attribute::new("k", Value::Text("v".into()))])),
    ];
    let attributes: Vec<Attribute<'static>> = text.chain(others).collect();
    let event = Event { name: "audit".into(), attributes: attributes.clone(), ..Event::default() };
    Span {
        trace_id: [1; 16],
        span_id: [2; 8],
        name: "workflow_created".into(),
        trace_state: "a=b,c=d".into(),
        attributes,
        events: vec![event],
        ..Span::default()
    }
});

fuzz_target!(|text: &str| {
    match mapping(text) {
        Ok(mappings) => {
            let resource = mappings
                .resource(&Resource { attributes: SPAN.attributes.clone(), ..Resource::default() });
            let scope = mappings.scope(&Scope { name: "audit".into(), ..Scope::default() });
            let converted = mappings.convert(&resource, &scope, Record::Span(&SPAN));
            assert!(converted.further.len() <= SPAN.events.len());
        }
        Err(error) => assert!(error.to_string().starts_with("fuzz.yaml:"), "{error}"),
    }
});
