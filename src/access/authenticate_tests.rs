use super::*;
use crate::access::{Act, NewCredential, RateLimits, Token};

fn acme() -> Tenant {
    Tenant::new("acme").unwrap()
}

fn writer(limits: RateLimits) -> NewCredential {
    NewCredential { limits, ..NewCredential::new("agents", Role::Writer, Some(acme())) }
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// Credentials of which this book is in effect.
fn with(book: Book) -> (tempfile::TempDir, Credentials) {
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::open(dir.path()).unwrap();
    credentials.put_in_effect(book);
    (dir, credentials)
}

fn ask(credentials: &Credentials, token: &Token) -> Result<Principal, Denied> {
    credentials.authenticate(Ok(Presented::Key(token.clone())), None)
}

#[test]
fn before_the_first_credential_everybody_is_local_and_may_do_everything() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::open(dir.path()).unwrap();
    assert!(credentials.is_open());
    for presented in [Ok(Presented::Nothing), Err(Denied::Unknown)] {
        let principal = credentials.authenticate(presented, None).unwrap();
        assert_eq!((principal.tenant(), principal.role()), (Tenant::default(), None));
        assert!(Right::ALL.iter().all(|right| principal.demand(*right).is_ok()));
    }
}

#[test]
fn from_the_first_credential_on_nobody_gets_in_without_one_even_if_all_are_revoked() {
    let mut book = Book::default();
    let (credential, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    let token = token.unwrap();
    let (_dir, credentials) = with(book.clone());
    let refused = |presented| credentials.authenticate(presented, None).unwrap_err();
    assert_eq!(refused(Ok(Presented::Nothing)), Denied::Missing);
    assert_eq!(refused(Err(Denied::Unknown)), Denied::Unknown);
    assert_eq!(refused(Ok(Presented::Key(Token::new().unwrap()))), Denied::Unknown);
    assert_eq!(ask(&credentials, &token).unwrap().tenant(), acme());
    book.revoke(&credential.id, "os:root", now()).unwrap();
    credentials.put_in_effect(book);
    assert_eq!(ask(&credentials, &token).unwrap_err(), Denied::Revoked);
    assert_eq!(refused(Ok(Presented::Nothing)), Denied::Missing);
}

#[test]
fn the_id_of_a_key_with_another_secret_is_unknown_whatever_became_of_the_key() {
    let mut book = Book::default();
    let (credential, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    let (token, other) = (token.unwrap(), Token::new().unwrap());
    let forged = other.reveal().replace(other.id(), token.id());
    let forged = Token::parse(&forged).unwrap();
    let (_dir, credentials) = with(book.clone());
    assert_eq!(ask(&credentials, &forged).unwrap_err(), Denied::Unknown);
    book.revoke(&credential.id, "os:root", now()).unwrap();
    credentials.put_in_effect(book);
    assert_eq!(ask(&credentials, &forged).unwrap_err(), Denied::Unknown);
}

#[test]
fn an_expired_key_is_refused_from_its_moment_on() {
    let mut book = Book::default();
    let (_, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    book.credentials[0].expires = Some(Timestamp::from_second(1).unwrap());
    let (_dir, credentials) = with(book);
    assert_eq!(ask(&credentials, &token.unwrap()).unwrap_err(), Denied::Expired);
}

#[test]
fn a_role_may_what_the_table_says_and_the_refusal_names_both() {
    let mut book = Book::default();
    let (_, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    let (_dir, credentials) = with(book);
    let principal = ask(&credentials, &token.unwrap()).unwrap();
    assert_eq!(principal.demand(Right::Write), Ok(()));
    let refused = principal.demand(Right::Read).unwrap_err();
    assert_eq!(refused.to_string(), "this credential may not read: it has the role writer");
    assert_eq!(refused.http_status(), 403);
}

#[test]
fn a_certificate_is_who_its_one_known_name_says() {
    let name = CertificateName::dns("agents.acme.example");
    let other = CertificateName::uri("spiffe://acme/other");
    let mut book = Book::default();
    for name in [&name, &other] {
        let new =
            NewCredential { certificate: Some(name.clone()), ..writer(RateLimits::default()) };
        book.create(new, "os:root", now()).unwrap();
    }
    let (_dir, credentials) = with(book);
    let ask = |names: &[&CertificateName]| {
        let names = names.iter().map(|name| (*name).clone()).collect();
        let certificate = PeerCertificate { names };
        credentials.authenticate(Ok(Presented::Nothing), Some(&certificate))
    };
    let stranger = CertificateName::subject("CN=stranger");
    assert_eq!(ask(&[&stranger, &name]).unwrap().tenant(), acme());
    assert_eq!(ask(&[&stranger]).unwrap_err(), Denied::Unknown);
    assert_eq!(ask(&[&name, &other]).unwrap_err(), Denied::Unknown, "it could be either");
    assert_eq!(ask(&[]).unwrap_err(), Denied::Unknown);
}

#[test]
fn a_key_counts_before_a_certificate_and_a_wrong_key_is_not_made_good_by_one() {
    let mut book = Book::default();
    let name = CertificateName::dns("agents.acme.example");
    let new = NewCredential { certificate: Some(name.clone()), ..writer(RateLimits::default()) };
    book.create(new, "os:root", now()).unwrap();
    let (_dir, credentials) = with(book);
    let certificate = PeerCertificate { names: vec![name] };
    let wrong = Ok(Presented::Key(Token::new().unwrap()));
    let refused = credentials.authenticate(wrong, Some(&certificate));
    assert_eq!(refused.unwrap_err(), Denied::Unknown);
}

#[test]
fn a_limit_is_per_key_survives_a_reload_and_lets_a_large_request_through_in_the_end() {
    let limits = RateLimits { requests_per_second: Some(2), bytes_per_second: Some(4096) };
    let mut book = Book::default();
    let mut token = || book.create(writer(limits), "os:root", now()).unwrap().1.unwrap();
    let (one, other) = (token(), token());
    let (_dir, credentials) = with(book.clone());
    let principal = ask(&credentials, &one).unwrap();
    let admitted = (0..20).filter(|_| principal.admit_request().is_ok()).count();
    assert!((2..20).contains(&admitted), "{admitted}");
    assert_eq!(principal.admit_bytes(1 << 30), Ok(()), "it gets through, and is paid for");
    assert_eq!(principal.admit_bytes(1), Err(Denied::TooFast));
    assert!(ask(&credentials, &other).unwrap().admit_bytes(1).is_ok());
    credentials.put_in_effect(book);
    assert_eq!(ask(&credentials, &one).unwrap().admit_bytes(1 << 30), Err(Denied::TooFast));
    assert_eq!(Principal::local().admit_bytes(usize::MAX), Ok(()));
}

#[test]
fn who_was_let_in_is_asked_again_after_what_took_time() {
    let mut book = Book::default();
    let (credential, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    let (_dir, credentials) = with(book.clone());
    let principal = ask(&credentials, &token.unwrap()).unwrap();
    assert_eq!(credentials.still_may(&principal, Right::Write), Ok(()));
    assert!(credentials.still_may(&Principal::local(), Right::Write).is_err());
    book.revoke(&credential.id, "os:root", now()).unwrap();
    credentials.put_in_effect(book);
    assert_eq!(credentials.still_may(&principal, Right::Write), Err(Denied::Revoked));
}

#[test]
fn what_is_refused_takes_effect_before_anything_else_of_a_book() {
    let mut book = Book::default();
    let (revoked, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    let (_dir, credentials) = with(book.clone());
    book.revoke(&revoked.id, "os:root", now()).unwrap();
    let (_, new) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    credentials.refuse_at_once(&book);
    assert_eq!(ask(&credentials, &token.unwrap()).unwrap_err(), Denied::Revoked);
    assert_eq!(ask(&credentials, &new.unwrap()).unwrap_err(), Denied::Unknown);
}

#[test]
fn what_is_not_on_record_is_not_in_effect_and_the_door_is_shut_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let token = Book::change(dir.path(), |book| {
        book.create(writer(RateLimits::default()), "os:root", now())
    });
    let token = token.unwrap().1.unwrap();
    let credentials = Credentials::open(dir.path()).unwrap();
    assert!(!credentials.is_open());
    assert_eq!(ask(&credentials, &token).unwrap_err(), Denied::Unknown);
    let book = Book::read(dir.path()).unwrap().unwrap();
    book.write_recorded(dir.path()).unwrap();
    assert!(ask(&Credentials::open(dir.path()).unwrap(), &token).is_ok());
    std::fs::remove_file(dir.path().join("credentials.json")).unwrap();
    let error = Credentials::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("on record"), "a lost file must not open the door: {error}");
}

#[test]
fn the_last_use_of_a_key_is_known() {
    let mut book = Book::default();
    let (_, token) = book.create(writer(RateLimits::default()), "os:root", now()).unwrap();
    let (_dir, credentials) = with(book);
    assert_eq!(credentials.list().unwrap()[0].1, None);
    ask(&credentials, &token.unwrap()).unwrap();
    assert!(credentials.list().unwrap()[0].1.is_some());
    let act = Act { at: now(), by: "os:root".to_owned() };
    assert!(credentials.book().unwrap().credentials[0].created.at <= act.at);
}
