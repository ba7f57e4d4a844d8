//! The configuration file: whatever it says, there is a configuration or a message with its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanledger::fuzzing::configuration;

fuzz_target!(|text: &str| {
    match configuration(text) {
        Ok(config) => {
            assert!(config.limits.memory_bytes >= config.limits.max_request_bytes);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
