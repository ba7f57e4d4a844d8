//! The table of fields as a page for people.

use super::{Field, LONGEST_FREE_VALUE, LONGEST_KEYWORD, Product, Type, all};
use std::fmt::Write as _;

/// The page: `docs/fields.md`.
pub fn markdown() -> String {
    let mut page = head();
    let fields = all();
    let mut objects: Vec<&str> = Vec::new();
    for field in &fields {
        if !objects.contains(&field.object()) {
            objects.push(field.object());
        }
    }
    for object in objects {
        let rows: Vec<&Field> = fields.iter().filter(|field| field.object() == object).collect();
        let meaning = rows.first().map_or("", |field| field.object_meaning.as_str());
        let title =
            if object.is_empty() { "the document".to_owned() } else { format!("`{object}`") };
        let _ = write!(page, "\n## {title}\n\n");
        if !meaning.is_empty() {
            let _ = write!(page, "{meaning}\n\n");
        }
        page.push_str("| field | type | ECS | meaning |\n|---|---|---|---|\n");
        for field in rows {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                field.name,
                type_name(field),
                if field.ecs { "yes" } else { "" },
                field.meaning.replace('|', "\\|"),
            );
        }
    }
    page
}

fn type_name(field: &Field) -> String {
    let (one, other) =
        (field.kind.name(Product::Elasticsearch), field.kind.name(Product::OpenSearch));
    let name = match field.kind {
        Type::Folded => "keyword, lower case".to_owned(),
        Type::Shown => "not searched".to_owned(),
        Type::Alias(path) => format!("alias of `{path}`"),
        _ if one == other => one.to_owned(),
        _ => format!("{one}; OpenSearch: {other}"),
    };
    if field.many && !matches!(field.kind, Type::Shown) { format!("{name}, several") } else { name }
}

fn head() -> String {
    format!(
        "# Fields of an exported document

Generated from the entry's types (`src/entry`), the projection and `src/elasticsearch/fields`; do not
edit. `SPANLEDGER_WRITE_DOCS=1 cargo test --lib fields` writes it again.

Names are those of the Elastic Common Schema where it has the field (column ECS), else those of the
OpenTelemetry audit draft, else ours. A field that is absent was not said by the source.

- **keyword** is compared as a whole. A value of more than {LONGEST_KEYWORD} UTF-16 units is kept and shown but not
  searched, because Lucene refuses terms of more than 32,766 bytes. On Elasticsearch `_ignored : *` finds such
  documents; an id of more than 255 characters has `audit.flags : id_too_long` on both.
- **text** is compared word by word and has no bound.
- **date_nanos** keeps nanoseconds, which the order of a story needs.
- **flattened** finds free fields by name, `attributes.order.id : \"A-17\"`, each value as a whole; one of
  more than {LONGEST_FREE_VALUE} units is kept and shown but not searched. OpenSearch's **flat_object** has no such bound:
  it refuses a document with a value, or a name and value, of more than 32,766 bytes, which is then
  a dead letter. Elasticsearch refuses a free name that with its value exceeds 32,766 bytes, or
  that contains the character U+0000.
- **not searched** is any JSON, kept and shown as it came.
- **several**: a document can have more than one value.
- What is in no table here (a later version's field) is kept in `_source` and not searched.

A `reason`, `decision`, `policy`, `model` stands for several fields, as in `spanledger search`; charts and
sorting are better served by the long names.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_documentation_is_the_table_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
        let now = markdown();
        if std::env::var_os("SPANLEDGER_WRITE_DOCS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let documented = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            documented == now,
            "run the tests once with SPANLEDGER_WRITE_DOCS=1 and commit {path}"
        );
    }

    #[test]
    fn every_field_is_on_the_page_once() {
        let page = markdown();
        for field in all() {
            let row = format!("\n| `{}` |", field.name);
            assert_eq!(page.matches(&row).count(), 1, "{}", field.name);
        }
    }
}
