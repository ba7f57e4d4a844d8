//! Names under which payloads stand outside `audit.payload`: in attributes that no mapping took
//! over, in span events, in log bodies.

use crate::entry::PayloadKind;
use std::collections::HashMap;

/// Names of attributes, of keys in log bodies, and of events whose whole content is a payload.
/// `*` at the end matches any rest.
///
/// Exception messages and stack traces are not here: why something failed is evidence.
const BUILT_IN: &[(PayloadKind, &[&str])] = &[
    (
        PayloadKind::Prompt,
        &[
            "gen_ai.input.messages",
            "gen_ai.prompt",
            "gen_ai.prompt.*",
            "gen_ai.content.prompt",
            "gen_ai.user.message",
            "gen_ai.assistant.message",
            "llm.input_messages.*",
            "llm.prompts",
            "llm.prompts.*",
            "ai.prompt",
            "ai.prompt.messages",
            "pydantic_ai.all_messages",
            "all_messages_events",
            "all_messages",
            "input_messages",
            "raw_input",
            "request_data",
            "prompt",
            "messages",
        ],
    ),
    (
        PayloadKind::System,
        &["gen_ai.system_instructions", "gen_ai.system.message", "system_instructions"],
    ),
    (
        PayloadKind::Response,
        &[
            "gen_ai.output.messages",
            "gen_ai.completion",
            "gen_ai.completion.*",
            "gen_ai.content.completion",
            "gen_ai.choice",
            "llm.output_messages.*",
            "ai.response.text",
            "ai.response.object",
            "ai.response.toolCalls",
            "ai.result.text",
            "ai.result.object",
            "ai.result.toolCalls",
            "final_result",
            "output_messages",
            "response_data",
            "response",
            "completion",
        ],
    ),
    (PayloadKind::Reasoning, &["gen_ai.reasoning*", "ai.response.reasoning*"]),
    (
        PayloadKind::Arguments,
        &[
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.input",
            "ai.toolCall.args",
            "ai.toolCall.input",
            "tool.parameters",
            "tool_arguments",
            "tool_input",
            "function.arguments",
            "arguments",
        ],
    ),
    (
        PayloadKind::Result,
        &[
            "gen_ai.tool.call.result",
            "gen_ai.tool.output",
            "gen_ai.tool.message",
            "ai.toolCall.result",
            "ai.toolCall.output",
            "tool_response",
            "tool_result",
            "tool_output",
        ],
    ),
    (
        PayloadKind::Input,
        &[
            "input.value",
            "input",
            "traceloop.entity.input",
            "gen_ai.task.input",
            "langfuse.observation.input",
            "langfuse.trace.input",
            "retrieval.query*",
        ],
    ),
    (
        PayloadKind::Output,
        &[
            "output.value",
            "output",
            "traceloop.entity.output",
            "gen_ai.task.output",
            "langfuse.observation.output",
            "langfuse.trace.output",
            "retrieval.documents.*",
            "content",
        ],
    ),
];

/// Names and the kind of payload that each stands for.
#[derive(Debug, Clone)]
pub(super) struct PayloadNames {
    exact: HashMap<String, PayloadKind>,
    prefixes: Vec<(String, PayloadKind)>,
}

impl PayloadNames {
    /// The built-in names, replaced for the kinds that `own` has.
    pub(super) fn new(own: &HashMap<PayloadKind, Vec<String>>) -> Self {
        let mut names = Self { exact: HashMap::new(), prefixes: Vec::new() };
        for (kind, built_in) in BUILT_IN {
            match own.get(kind) {
                Some(own) => own.iter().for_each(|name| names.add(name, *kind)),
                None => built_in.iter().for_each(|name| names.add(name, *kind)),
            }
        }
        names
    }

    /// Whether a configuration may hold that name.
    pub(super) fn is_legal(name: &str) -> bool {
        !name.is_empty() && name != "*" && !name.trim_end_matches('*').contains('*')
    }

    fn add(&mut self, name: &str, kind: PayloadKind) {
        match name.strip_suffix('*') {
            Some(prefix) => self.prefixes.push((prefix.to_owned(), kind)),
            None => {
                self.exact.insert(name.to_owned(), kind);
            }
        }
    }

    /// The kind of payload that stands under that name.
    pub(super) fn kind(&self, name: &str) -> Option<PayloadKind> {
        self.exact.get(name).copied().or_else(|| {
            self.prefixes
                .iter()
                .find(|(prefix, _)| name.starts_with(prefix.as_str()))
                .map(|(_, kind)| *kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_whole_or_by_its_beginning() {
        let names = PayloadNames::new(&HashMap::new());
        assert_eq!(names.kind("gen_ai.input.messages"), Some(PayloadKind::Prompt));
        assert_eq!(
            names.kind("llm.input_messages.0.message.content"),
            Some(PayloadKind::Prompt),
            "flattened messages"
        );
        assert_eq!(names.kind("gen_ai.tool.call.arguments"), Some(PayloadKind::Arguments));
        for name in ["exception.message", "gen_ai.request.model", "gen_ai.tool.call.id", ""] {
            assert_eq!(names.kind(name), None, "{name}");
        }
    }

    #[test]
    fn a_list_of_the_operator_replaces_that_kind_only() {
        let own = HashMap::from([(PayloadKind::Prompt, vec!["acme.question".to_owned()])]);
        let names = PayloadNames::new(&own);
        assert_eq!(names.kind("acme.question"), Some(PayloadKind::Prompt));
        assert_eq!(names.kind("gen_ai.input.messages"), None);
        assert_eq!(names.kind("gen_ai.output.messages"), Some(PayloadKind::Response));
    }

    #[test]
    fn a_star_stands_at_the_end_only() {
        for (name, legal) in [("a", true), ("a.*", true), ("", false), ("*", false), ("a*b", false)]
        {
            assert_eq!(PayloadNames::is_legal(name), legal, "{name:?}");
        }
    }
}
