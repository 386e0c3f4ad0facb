//! Texts within flows: those that are filled in per iteration (`${…}`), and those that are not, where a placeholder is a mistake.
//! The stage of environment variables has left `${name}` and `$${` in both.

use serde_json::{Value as Json, json};

use crate::registry::{Context, Decode, Node, Secret, Spanned};

/// A text that may hold `${…}`; what stands in it is checked in resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fillable(pub(crate) String);

impl Decode for Fillable {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        String::decode(node, cx).map(Self)
    }
    fn schema() -> Json {
        String::schema()
    }
}

/// A text that is the same in every iteration: names, patterns, files. `$${` stands for `${`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixed(pub(crate) String);

impl Decode for Fixed {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        match placeholder(&text) {
            None => Some(Self(unescaped(&text))),
            Some(found) => {
                let message = format!("`{found}` cannot be filled in here: this text is the same in every iteration");
                cx.diagnostics.push("unknown-variable", node.span, message, "write it out, or write `$${` for a literal `${`");
                None
            }
        }
    }
    fn schema() -> Json {
        String::schema()
    }
}

impl Fixed {
    /// The text with its place.
    pub(crate) fn spanned(node: &Spanned<Self>) -> Spanned<String> {
        Spanned { value: node.value.0.clone(), span: node.span }
    }
}

/// A secret that stands in a file of its own, read here; nothing in it is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretFile(pub(crate) Secret);

impl Decode for SecretFile {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let path = unescaped(&String::decode(node, cx)?);
        match cx.surroundings.read_secret_file(&path) {
            Ok(text) => Some(Self(Secret::new(text.trim_end_matches(['\r', '\n'])))),
            Err(why) => {
                let message = format!("the secret file `{path}` cannot be read: {why}");
                cx.diagnostics.push("unreadable-secret", node.span, message, "check the path and its permissions");
                None
            }
        }
    }
    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// A secret, by where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawSecret {
    /// Written in the file: may hold `${…}`.
    Written(Secret),
    /// From a file of its own: as it is.
    Kept(Secret),
}

impl RawSecret {
    /// The one that is given; `None` when neither is, or both are, which is told.
    pub(crate) fn of(
        key: &str,
        written: Option<&Spanned<Secret>>,
        kept: Option<&Spanned<SecretFile>>,
        cx: &mut Context<'_>,
    ) -> Option<Spanned<Self>> {
        match (written, kept) {
            (Some(_), Some(kept)) => {
                cx.diagnostics.push("conflicting-keys", kept.span, format!("both `{key}` and `{key}_file` are given"), "keep one of them");
                None
            }
            (Some(written), None) => Some(Spanned { value: Self::Written(written.value.clone()), span: written.span }),
            (None, Some(kept)) => Some(Spanned { value: Self::Kept(kept.value.0.clone()), span: kept.span }),
            (None, None) => None,
        }
    }

    /// The secret, when nothing in it can be filled in.
    pub(crate) fn fixed(&self) -> String {
        match self {
            Self::Written(secret) => unescaped(secret.expose()),
            Self::Kept(secret) => secret.expose().to_owned(),
        }
    }
}

/// `$${` made `${`: what a text says when nothing in it is filled in.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace("$${", "${")
}

/// The first placeholder of a text, with its braces.
pub(crate) fn placeholder(text: &str) -> Option<&str> {
    let at = text.match_indices("${").map(|(at, _)| at).find(|at| !text[..*at].ends_with('$'))?;
    let end = text[at..].find('}').map_or(text.len(), |end| at + end + 1);
    text.get(at..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_dollar_is_no_placeholder() {
        for (text, found) in [
            ("a", None),
            ("${a}", Some("${a}")),
            ("x $${a} y", None),
            ("$${a}${b}", Some("${b}")),
            ("open ${a", Some("${a")),
            ("$ {a}", None),
        ] {
            assert_eq!(placeholder(text), found, "{text}");
        }
        assert_eq!(unescaped("$${a} $$${b}"), "${a} $${b}");
    }
}
