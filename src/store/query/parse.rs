//! Text → question.
//!
//! ```text
//! or      := and ( OR and )*
//! and     := not ( AND? not )*
//! not     := NOT not | primary
//! primary := '(' or ')' | field ':' value | field ( '>=' | '>' | '<=' | '<' ) word | word
//! value   := word | '*' | '(' or of words ')' | ( '[' | '{' ) word TO word ( ']' | '}' )
//! word    := "quoted" | plain, '\' before a character of the language, '*' at the end
//! ```

use super::names;
use super::problem::{Limits, ParseError, Problem};
use super::{Bound, Query, Value};

/// Whether a character needs no escape in a word.
pub(super) fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '/' | '+' | '=' | '%' | '#' | '~')
}

/// Whether a word is one of the language's own.
pub(super) fn is_operator(word: &str) -> bool {
    ["and", "or", "not", "to"].iter().any(|op| op.eq_ignore_ascii_case(word))
}

impl Query {
    /// Parses a question under limits of one's own.
    ///
    /// # Errors
    /// See [`Query::parse`].
    pub fn parse_within(text: &str, limits: &Limits) -> Result<Self, ParseError> {
        if text.len() > limits.max_bytes {
            let problem = Problem::TooLong { bytes: text.len(), limit: limits.max_bytes };
            return Err(ParseError { position: 0, problem });
        }
        let mut parser =
            Parser { chars: text.chars().collect(), at: 0, limits, clauses: 0, depth: 0 };
        parser.skip_space();
        if parser.is_at_end() {
            return Ok(Query::All);
        }
        let query = parser.or(None)?;
        if parser.is_at_end() { Ok(query) } else { Err(parser.expected("an operator or the end")) }
    }
}

struct Parser<'l> {
    chars: Vec<char>,
    at: usize,
    limits: &'l Limits,
    clauses: usize,
    depth: usize,
}

/// A word as it was read.
struct Word {
    start: usize,
    text: String,
    star: bool,
    /// Quoted or escaped: never an operator.
    literal: bool,
}

impl Parser<'_> {
    /// `field` is set within `field:( … )`: every word there is a value of it.
    fn or(&mut self, field: Option<&str>) -> Result<Query, ParseError> {
        let mut parts = vec![self.and(field)?];
        while self.eat_operator("or") {
            parts.push(self.and(field)?);
        }
        Ok(one_or(parts, Query::Or))
    }

    fn and(&mut self, field: Option<&str>) -> Result<Query, ParseError> {
        let mut parts = vec![self.not(field)?];
        loop {
            let joined = self.eat_operator("and");
            let ends = self.is_at_end() || self.peek() == Some(')') || self.sees_operator("or");
            if !joined && ends {
                return Ok(one_or(parts, Query::And));
            }
            parts.push(self.not(field)?);
        }
    }

    fn not(&mut self, field: Option<&str>) -> Result<Query, ParseError> {
        if !self.eat_operator("not") {
            return self.primary(field);
        }
        self.enter()?;
        let inner = self.not(field)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(Query::Not(Box::new(inner)))
    }

    fn primary(&mut self, field: Option<&str>) -> Result<Query, ParseError> {
        if self.eat('(') {
            self.enter()?;
            let inner = self.or(field)?;
            self.depth = self.depth.saturating_sub(1);
            return if self.eat(')') { Ok(inner) } else { Err(self.expected("')'")) };
        }
        if let Some(field) = field {
            let word = self.word(&[')'], "a value")?;
            return self.value_of(field.to_owned(), word);
        }
        let expected = "a field, a word or '('";
        let word = self.word(&['(', ')', ':', '<', '>'], expected)?;
        match self.peek() {
            Some(':') if !word.star => {
                self.advance();
                let field = Self::known_field(word)?;
                self.after_colon(field)
            }
            Some('<' | '>') if !word.star => {
                let field = Self::known_field(word)?;
                self.comparison(field)
            }
            _ => {
                self.count()?;
                if word.text.is_empty() && word.star {
                    return Ok(Query::All);
                }
                if word.text.is_empty() {
                    return Err(ParseError { position: word.start, problem: Problem::Empty });
                }
                let value = Value { text: word.text, prefix: word.star };
                Ok(Query::Term { field: None, value })
            }
        }
    }

    fn after_colon(&mut self, field: String) -> Result<Query, ParseError> {
        self.skip_space();
        match self.peek() {
            Some('(') => {
                self.advance();
                self.skip_space();
                self.enter()?;
                let inner = self.or(Some(&field))?;
                self.depth = self.depth.saturating_sub(1);
                if self.eat(')') { Ok(inner) } else { Err(self.expected("')'")) }
            }
            Some('[' | '{') => self.range(field),
            Some('<' | '>') => self.comparison(field),
            _ => {
                let word = self.word(&['(', ')'], "a value")?;
                self.value_of(field, word)
            }
        }
    }

    fn value_of(&mut self, field: String, word: Word) -> Result<Query, ParseError> {
        self.count()?;
        if word.star && word.text.is_empty() {
            return Ok(Query::Exists { field });
        }
        let value = Value { text: word.text, prefix: word.star };
        Ok(Query::Term { field: Some(field), value })
    }

    fn comparison(&mut self, field: String) -> Result<Query, ParseError> {
        self.count()?;
        let is_upper = self.peek() == Some('<');
        self.advance();
        let inclusive = self.peek() == Some('=');
        if inclusive {
            self.advance();
        }
        self.skip_space();
        let word = self.word(&['(', ')'], "a value to compare with")?;
        if word.star {
            return Err(ParseError { position: word.start, problem: Problem::Star });
        }
        let bound = Some(Bound { value: word.text, inclusive });
        let (lower, upper) = if is_upper { (None, bound) } else { (bound, None) };
        Ok(Query::Range { field, lower, upper })
    }

    fn range(&mut self, field: String) -> Result<Query, ParseError> {
        self.count()?;
        let lower_in = self.peek() == Some('[');
        self.advance();
        self.skip_space();
        let lower = self.bound(lower_in)?;
        if !self.eat_operator("to") {
            return Err(self.expected("TO, as in [1 TO 5]"));
        }
        let mut upper = self.bound(true)?;
        let upper_in = match self.peek() {
            Some(']') => true,
            Some('}') => false,
            _ => return Err(self.expected("']' or '}'")),
        };
        self.advance();
        self.skip_space();
        if let Some(bound) = &mut upper {
            bound.inclusive = upper_in;
        }
        Ok(Query::Range { field, lower, upper })
    }

    fn bound(&mut self, inclusive: bool) -> Result<Option<Bound>, ParseError> {
        let word = self.word(&['(', ')', ']', '}'], "a bound, or * for none")?;
        match (word.star, word.text.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Err(ParseError { position: word.start, problem: Problem::Star }),
            _ => Ok(Some(Bound { value: word.text, inclusive })),
        }
    }

    fn known_field(word: Word) -> Result<String, ParseError> {
        if names::is_known(&word.text) {
            return Ok(word.text);
        }
        let nearest = names::nearest(&word.text);
        let problem = Problem::UnknownField { name: word.text, nearest };
        Err(ParseError { position: word.start, problem })
    }

    /// Reads a quoted or plain word up to space or one of `stops`, and the space after it.
    fn word(&mut self, stops: &[char], expected: &'static str) -> Result<Word, ParseError> {
        let start = self.at;
        let word = match self.peek() {
            Some('"') => self.quoted()?,
            _ => self.plain(stops)?,
        };
        if word.text.is_empty() && !word.star && !word.literal {
            self.at = start;
            return Err(self.expected(expected));
        }
        if !word.literal && !word.star && is_operator(&word.text) {
            self.at = start;
            return Err(self.expected(expected));
        }
        self.skip_space();
        Ok(word)
    }

    fn quoted(&mut self) -> Result<Word, ParseError> {
        let start = self.at;
        self.advance();
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(ParseError { position: start, problem: Problem::OpenQuote }),
                Some('"') => break,
                Some('\\') => {
                    self.advance();
                    // Only the quote and the backslash itself are special within quotes.
                    match self.peek() {
                        Some(c @ ('"' | '\\')) => text.push(c),
                        Some(c) => text.extend(['\\', c]),
                        None => continue,
                    }
                }
                Some(c) => text.push(c),
            }
            self.advance();
        }
        self.advance();
        Ok(Word { start, text, star: false, literal: true })
    }

    fn plain(&mut self, stops: &[char]) -> Result<Word, ParseError> {
        let start = self.at;
        let (mut text, mut literal, mut star) = (String::new(), false, false);
        while let Some(c) = self.peek() {
            if c.is_whitespace() || c == '"' || stops.contains(&c) {
                break;
            }
            if star {
                return Err(self.problem(Problem::Star));
            }
            match c {
                '*' => star = true,
                '\\' => {
                    self.advance();
                    let Some(escaped) = self.peek() else {
                        return Err(self.problem(Problem::OpenEscape));
                    };
                    literal = true;
                    text.push(escaped);
                }
                c => text.push(c),
            }
            self.advance();
        }
        Ok(Word { start, text, star, literal })
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth = self.depth.saturating_add(1);
        let limit = self.limits.max_depth;
        if self.depth > limit { Err(self.problem(Problem::TooDeep { limit })) } else { Ok(()) }
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.clauses = self.clauses.saturating_add(1);
        let limit = self.limits.max_clauses;
        if self.clauses > limit {
            return Err(self.problem(Problem::TooManyClauses { limit }));
        }
        Ok(())
    }

    /// Whether an operator stands here.
    fn sees_operator(&self, operator: &str) -> bool {
        self.operator_length(operator).is_some()
    }

    /// Length of the operator that stands here: a whole unquoted word, in any case, or its sign.
    fn operator_length(&self, operator: &str) -> Option<usize> {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let ends = |c: &char| c.is_whitespace() || matches!(c, '(' | ')' | '"');
        let word: String = rest.iter().take_while(|c| !ends(c)).collect();
        let sign = match operator {
            "and" => "&&",
            "or" => "||",
            _ => operator,
        };
        (word.eq_ignore_ascii_case(operator) || word == sign).then(|| word.chars().count())
    }

    fn eat_operator(&mut self, operator: &str) -> bool {
        let length = self.operator_length(operator);
        if let Some(length) = length {
            self.at = self.at.saturating_add(length);
            self.skip_space();
        }
        length.is_some()
    }

    fn eat(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.advance();
            self.skip_space();
        }
        there
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.advance();
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn advance(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn problem(&self, problem: Problem) -> ParseError {
        ParseError { position: self.at, problem }
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        const SHOWN: usize = 16;
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let word: String = rest.iter().take_while(|c| !c.is_whitespace()).take(SHOWN).collect();
        let found = if rest.is_empty() { "the end".to_owned() } else { format!("{word:?}") };
        self.problem(Problem::Expected { expected, found })
    }
}

/// The only one of several, or all of them joined.
fn one_or(mut parts: Vec<Query>, join: fn(Vec<Query>) -> Query) -> Query {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::SHORT_NAMES;
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Query {
        Query::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn word(text: &str) -> Query {
        Query::Term { field: None, value: Value { text: text.into(), prefix: false } }
    }

    fn query() -> impl Strategy<Value = Query> {
        let field = prop_oneof![
            prop::sample::select(
                SHORT_NAMES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
            ),
            Just("attributes.a b.c:d".to_owned()),
            "[a-z]{1,4}\\.[a-z]{1,4}",
        ];
        let text = prop_oneof![
            "\\PC{1,8}",
            "[a-z0-9]{1,6}",
            prop::sample::select(vec![
                "and".to_owned(),
                "OR".into(),
                "to".into(),
                "a*b".into(),
                "\\".into(),
                "\"".into()
            ])
        ];
        let value = (text.clone(), any::<bool>()).prop_map(|(text, prefix)| Value { text, prefix });
        let bound = prop::option::of(
            (text, any::<bool>()).prop_map(|(value, inclusive)| Bound { value, inclusive }),
        );
        let leaf = prop_oneof![
            Just(Query::All),
            (prop::option::of(field.clone()), value)
                .prop_map(|(field, value)| Query::Term { field, value }),
            field.clone().prop_map(|field| Query::Exists { field }),
            (field, bound.clone(), bound).prop_map(|(field, lower, upper)| Query::Range {
                field,
                lower,
                upper
            }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(Query::And),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Query::Or),
                inner.prop_map(|q| Query::Not(Box::new(q))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_question_written_down_reads_back_as_itself(query in query()) {
            let text = query.to_string();
            prop_assert_eq!(Query::parse(&text), Ok(query), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Query::parse(&text);
        }

        #[test]
        fn no_text_of_the_language_makes_it_panic(
            parts in prop::collection::vec(prop::sample::select(vec![
                "run_id", ":", "(", ")", "and", "OR", "not", "\"", "\\", "*", "[", "{", "TO", "]", "}", ">", "<=", " ", "a", "é",
            ]), 0..24)
        ) {
            let text = parts.concat();
            if let Ok(query) = Query::parse(&text) {
                prop_assert_eq!(Query::parse(&query.to_string()), Ok(query), "{}", text);
            }
        }
    }

    #[test]
    fn what_people_type_into_kibana_is_understood() {
        let run = Query::term("run_id", "7");
        let blocked = Query::term("decision", "blocked");
        for text in [
            "run_id:7 and decision:blocked",
            "run_id:7 && decision:blocked",
            "run_id: 7 AND decision : \"blocked\"",
            "run_id:7 decision:blocked",
            "( run_id:7 ) (decision:(blocked))",
        ] {
            assert_eq!(parsed(text), Query::And(vec![run.clone(), blocked.clone()]), "{text}");
        }
        assert_eq!(
            parsed("run_id:7 or not decision:blocked"),
            Query::Or(vec![run, Query::Not(Box::new(blocked))])
        );
        assert_eq!(
            parsed("tool:(pay or refund)"),
            Query::Or(vec![Query::term("tool", "pay"), Query::term("tool", "refund")])
        );
        assert_eq!(parsed(""), Query::All);
        assert_eq!(parsed(" * "), Query::All);
        assert_eq!(parsed("job_id:*"), Query::Exists { field: "job_id".into() });
        assert_eq!(parsed("and\\  \"or\"").to_string(), "\"and \" AND \"or\"");
    }

    #[test]
    fn a_pasted_value_may_have_colons_after_its_field() {
        assert_eq!(parsed("trace_id:a:b"), Query::term("trace_id", "a:b"));
        assert_eq!(
            parsed("@timestamp >= 2026-11-21T08:00:00Z"),
            parsed("@timestamp:[2026-11-21T08:00:00Z TO *]")
        );
        assert_eq!(parsed("time:<now-1h"), parsed("time < now-1h"));
    }

    #[test]
    fn words_next_to_each_other_bind_tighter_than_or() {
        assert_eq!(
            parsed("a b or c"),
            Query::Or(vec![Query::And(vec![word("a"), word("b")]), word("c")])
        );
    }

    #[test]
    fn errors_say_where_and_what_to_write_instead() {
        let error = |text: &str| Query::parse(text).unwrap_err().to_string();
        for (text, place, hint) in [
            ("run_id:", "character 8", "expected a value, found the end"),
            ("rnu_id:7", "character 1", "did you mean \"run_id\"?"),
            ("a and", "character 6", "expected a field, a word or '('"),
            ("(a", "character 3", "expected ')'"),
            ("a)", "character 2", "expected an operator or the end"),
            ("\"abc", "character 1", "add a closing"),
            ("a*b", "character 3", "only at the end"),
            ("time:[1 5]", "character 9", "expected TO"),
            ("\"\"", "character 1", "name a field"),
            ("http://x", "character 1", "needs quotes"),
        ] {
            let message = error(text);
            assert!(message.contains(place) && message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn every_bound_has_a_name() {
        let problem = |text: &str| Query::parse(text).unwrap_err().problem;
        assert!(matches!(problem(&"a".repeat(9000)), Problem::TooLong { .. }));
        assert!(matches!(problem(&"a ".repeat(129)), Problem::TooManyClauses { limit: 128 }));
        assert!(matches!(problem(&"(".repeat(33)), Problem::TooDeep { limit: 32 }));
        assert!(matches!(problem(&"not ".repeat(33)), Problem::TooDeep { limit: 32 }));
    }
}
