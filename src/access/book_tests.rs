use super::*;

#[test]
fn the_first_credential_is_the_operators_unless_one_knows_what_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |role, knows| Book::change(dir.path(), |book| book.check_first(role, knows));
    assert!(matches!(ask(Role::Writer, false), Err(BookError::First)));
    assert!(Book::read(dir.path()).unwrap().is_none(), "the door is open as it was");
    assert!(Book::default().check_first(Role::Operator, false).is_ok());
    assert!(Book::default().check_first(Role::Writer, true).is_ok());
}
use proptest::prelude::*;
use std::fs;

fn writer(name: &str) -> NewCredential {
    NewCredential::new(name, Role::Writer, Some(Tenant::new("acme").unwrap()))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_changed_is_read_again_and_no_secret_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("access");
    assert_eq!(Book::read(&dir).unwrap(), None);
    let (credential, token) =
        Book::change(&dir, |book| book.create(writer("ci"), "os:root", at(1))).unwrap();
    let token = token.unwrap();
    let text = fs::read_to_string(dir.join(BOOK_FILE)).unwrap();
    assert!(!text.contains(token.reveal()) && text.contains(&token.hash().to_hex()));
    assert_eq!(Book::read(&dir).unwrap().unwrap().credentials, [credential]);
    assert_eq!((mode(&dir), mode(&dir.join(BOOK_FILE))), (0o700, 0o600));
}

#[test]
fn a_file_that_others_can_read_or_that_is_damaged_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    Book::change(dir.path(), |book| book.create(writer("ci"), "os:root", at(1))).unwrap();
    let path = dir.path().join(BOOK_FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Book::read(dir.path()).unwrap_err();
    assert!(matches!(error, BookError::TooOpen { mode: 0o640, .. }), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "{}").unwrap();
    assert!(matches!(Book::read(dir.path()), Err(BookError::Unreadable { .. })));
}

#[test]
fn changes_from_many_sides_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for side in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                for number in 0..10 {
                    let name = format!("{side}-{number}");
                    Book::change(dir, |book| book.create(writer(&name), "os:root", at(1))).unwrap();
                }
            });
        }
    });
    assert_eq!(Book::read(dir.path()).unwrap().unwrap().credentials.len(), 40);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let failed = Book::change(dir.path(), |book| {
        book.create(writer("ci"), "os:root", at(1))?;
        book.revoke("nobody", "os:root", at(1))
    });
    assert!(failed.unwrap_err().to_string().contains("keys list"));
    assert_eq!(Book::read(dir.path()).unwrap(), None);
}

#[test]
fn what_contradicts_itself_is_refused_with_the_reason() {
    let mut book = Book::default();
    let forward = |tenants: &[&str]| {
        Some(Forward {
            from: TenantFrom::ResourceAttribute("tenant.id".to_owned()),
            tenants: tenants.iter().map(|name| Tenant::new(name).unwrap()).collect(),
        })
    };
    let header = |name: &str| {
        Some(Forward {
            from: TenantFrom::Header(name.to_owned()),
            tenants: [Tenant::new("a").unwrap()].into(),
        })
    };
    let forwarder = |forward| NewCredential { role: Role::Forwarder, forward, ..writer("f") };
    let none = RateLimits { requests_per_second: Some(0), ..RateLimits::default() };
    for (new, why) in [
        (writer(""), "name has 1 to"),
        (writer("a\nb"), "control characters"),
        (writer(&"x".repeat(129)), "name has 1 to"),
        (NewCredential { tenant: None, ..writer("w") }, "needs a tenant"),
        (NewCredential { role: Role::Operator, ..writer("w") }, "name no tenant"),
        (NewCredential { tenant: Some(Tenant::system()), ..writer("w") }, "installation's own"),
        (forwarder(None), "needs the tenants"),
        (forwarder(forward(&[])), "1 to 10000"),
        (forwarder(header("a b")), "cannot be the header"),
        (forwarder(header("Authorization")), "cannot be the header"),
        (NewCredential { forward: forward(&["a"]), ..writer("w") }, "only a forwarder"),
        (NewCredential { expires: Some(at(5)), ..writer("w") }, "expired already"),
        (NewCredential { limits: none, ..writer("w") }, "revoke the key"),
    ] {
        let error = book.create(new.clone(), "os:root", at(5)).unwrap_err();
        assert!(error.to_string().contains(why), "{new:?}: {error}");
    }
    assert_eq!(book, Book::default());
    book.create(forwarder(forward(&["a"])), "os:root", at(5)).unwrap();
}

#[test]
fn a_certificate_has_one_credential_at_a_time_and_no_token() {
    let mut book = Book::default();
    let named = || NewCredential {
        certificate: Some(CertificateName::dns("agents.acme.example")),
        ..writer("agents")
    };
    let (first, token) = book.create(named(), "os:root", at(1)).unwrap();
    assert!(token.is_none());
    assert!(book.create(named(), "os:root", at(2)).is_err());
    assert!(book.rotate(&first.id, at(9), "os:root", at(2)).is_err());
    book.revoke(&first.id, "os:root", at(3)).unwrap();
    book.create(named(), "os:root", at(4)).unwrap();
}

#[test]
fn a_rotated_key_goes_on_for_a_while_and_says_what_took_its_place() {
    let mut book = Book::default();
    let (old, token) = book.create(writer("ci"), "os:root", at(1)).unwrap();
    let (new, other) = book.rotate(&old.id, at(100), "key:op", at(10)).unwrap();
    assert_ne!(token.unwrap().reveal(), other.reveal());
    assert_eq!((new.replaces.as_deref(), &new.name), (Some(old.id.as_str()), &old.name));
    let old = book.credentials[0].clone();
    assert!(old.is_active(at(99)) && !old.is_active(at(100)) && new.is_active(at(100)));
    let again = book.rotate(&new.id.clone(), at(50), "key:op", at(20)).unwrap();
    assert_eq!(again.0.replaces.as_deref(), Some(new.id.as_str()));
    assert!(book.rotate(&old.id.clone(), at(200), "key:op", at(150)).is_err(), "it is expired");
}

#[test]
fn a_revocation_is_for_good_and_the_first_one_counts() {
    let mut book = Book::default();
    let (credential, _) = book.create(writer("ci"), "os:root", at(1)).unwrap();
    book.revoke(&credential.id, "key:a", at(2)).unwrap();
    book.revoke(&credential.id, "key:b", at(3)).unwrap();
    let revoked = book.credentials[0].revoked.as_ref().unwrap();
    assert_eq!((revoked.at, revoked.by.as_str()), (at(2), "key:a"));
}

#[test]
fn an_older_file_does_not_bring_a_revoked_credential_back() {
    let mut older = Book::default();
    let (credential, _) = older.create(writer("ci"), "os:root", at(1)).unwrap();
    let mut recorded = older.clone();
    recorded.revoke(&credential.id, "key:op", at(2)).unwrap();
    assert!(matches!(older.changes(&recorded)[..], [Change::Edited(_)]), "and it is told");
    older.credentials[0].expires = None;
    recorded.credentials[0].expires = Some(at(9));
    older.keep_refused(&recorded);
    assert_eq!(older, recorded);
}

#[test]
fn a_file_that_is_missing_though_credentials_are_on_record_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    Book::change(dir.path(), |book| book.create(writer("ci"), "os:root", at(1))).unwrap();
    Book::read(dir.path()).unwrap().unwrap().write_recorded(dir.path()).unwrap();
    fs::remove_file(dir.path().join(BOOK_FILE)).unwrap();
    let again = Book::change(dir.path(), |book| book.create(writer("ci"), "os:root", at(1)));
    assert!(again.unwrap_err().to_string().contains("on record"));
}

#[test]
fn whose_own_credential_is_revoked_changes_nothing_any_more() {
    let mut book = Book::default();
    let (own, _) = book.create(writer("op"), "os:root", at(1)).unwrap();
    assert!(
        book.demand_active(None, at(2)).is_ok() && book.demand_active(Some("x"), at(2)).is_err()
    );
    assert!(book.demand_active(Some(&own.id), at(2)).is_ok());
    book.revoke(&own.id, "os:root", at(2)).unwrap();
    assert!(book.demand_active(Some(&own.id), at(3)).is_err());
}

#[test]
fn every_difference_of_two_books_is_told_also_what_nothing_of_ours_does() {
    let mut before = Book::default();
    let ids: Vec<String> = (0..4)
        .map(|n| before.create(writer(&format!("w{n}")), "os:root", at(1)).unwrap().0.id)
        .collect();
    let mut after = before.clone();
    after.revoke(&ids[0], "key:op", at(2)).unwrap();
    after.rotate(&ids[1], at(50), "key:op", at(2)).unwrap();
    after.credentials[2].role = Role::Auditor;
    after.credentials.remove(3);
    let told: Vec<String> = after
        .changes(&before)
        .iter()
        .map(|change| match change {
            Change::Created(it) => format!("created {}", it.name),
            Change::Revoked(it, act) => format!("revoked {} {}", it.name, act.by),
            Change::Expiry(it) => format!("expiry {}", it.name),
            Change::Edited(it) => format!("edited {}", it.name),
            Change::Removed(it) => format!("removed {}", it.name),
        })
        .collect();
    let wanted = ["revoked w0 key:op", "expiry w1", "edited w2", "created w1", "removed w3"];
    assert_eq!(told, wanted);
    assert!(after.changes(&after.clone()).is_empty());
}

proptest! {
    #[test]
    fn a_file_that_is_anything_is_an_error_and_no_panic(text in "\\PC{0,200}") {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BOOK_FILE);
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        prop_assert!(Book::read(dir.path()).is_err());
    }
}
