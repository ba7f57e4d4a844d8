//! The mappings that are compiled in.

macro_rules! shipped {
    ($($name:literal,)*) => {
        /// File name and text of each.
        pub(super) const FILES: &[(&str, &str)] = &[$((
            concat!($name, ".yaml"),
            include_str!(concat!("../../config/mappings/", $name, ".yaml")),
        ),)*];
    };
}

shipped! {
    "agent_framework",
    "agent_governance_toolkit",
    "agno",
    "audit_target",
    "autogen",
    "axonflow",
    "axonflow_api",
    "cerbos",
    "cordum",
    "crewai",
    "dspy",
    "google_adk",
    "google_adk_calls",
    "langfuse",
    "langsmith",
    "langsmith_runs",
    "llamaindex",
    "logfire",
    "loongsuite",
    "mastra",
    "mcp",
    "nemo_guardrails",
    "opa",
    "openai_agents",
    "openai_agents_otel",
    "openinference",
    "openinference_langchain",
    "otel_genai",
    "pydantic_ai",
    "semantic_kernel",
    "smolagents",
    "spanledger",
    "spectra",
    "strands",
    "traceloop",
    "vercel_ai",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_mapping_in_the_folder_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/mappings");
        let there = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let there = there.filter(|path| path.extension().is_some_and(|it| it == "yaml"));
        let there: BTreeSet<_> =
            there.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(there, FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
    }
}
