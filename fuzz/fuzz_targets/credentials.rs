//! What a request shows of itself, tokens, and the book of credentials.
//!
//! Each line is the value of a header (`x-api-key` when it begins with `k`, else `authorization`);
//! the whole is taken for a token and for a book too.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use spanledger::access::{Book, CertificateName, Presented, Token, TokenHash};

fuzz_target!(|text: &str| {
    let mut headers = HeaderMap::new();
    for line in text.lines().take(4) {
        let (name, value) = match line.strip_prefix('k') {
            Some(value) => ("x-api-key", value),
            None => ("authorization", line),
        };
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    }
    match Presented::from_headers(&headers) {
        Ok(Presented::Nothing) => assert!(headers.is_empty(), "what is shown is never nothing"),
        Ok(Presented::Key(token)) => is_sound(&token),
        Err(denied) => assert_eq!(denied.http_status(), 401),
    }
    if let Some(token) = Token::parse(text) {
        assert_eq!(token.reveal(), text);
        is_sound(&token);
    }
    if let Some(hash) = TokenHash::from_hex(text) {
        assert_eq!(hash.to_hex(), text.to_ascii_lowercase());
    }
    if let Ok(name) = text.parse::<CertificateName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(book) = serde_json::from_str::<Book>(text) {
        let written = serde_json::to_string(&book).expect("a book can be written");
        assert_eq!(serde_json::from_str::<Book>(&written).ok(), Some(book.clone()), "{written}");
        assert!(book.changes(&Book::default()).len() >= book.credentials.len());
        assert!(book.changes(&book).is_empty() || has_twins(&book));
    }
});

fn is_sound(token: &Token) {
    assert_eq!(Token::parse(token.reveal()).as_ref(), Some(token));
    assert!(token.reveal().contains(token.id()));
    assert!(!format!("{token:?}").contains(token.reveal()), "a token is not shown by accident");
}

fn has_twins(book: &Book) -> bool {
    let mut ids: Vec<&str> = book.credentials.iter().map(|it| it.id.as_str()).collect();
    ids.sort_unstable();
    ids.windows(2).any(|pair| pair[0] == pair[1])
}
