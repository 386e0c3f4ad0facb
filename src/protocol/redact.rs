//! What people may read of an answer: one short line without secrets, neither those that were sent nor what looks like one.

use std::sync::LazyLock;

/// How much of an answer is looked at, bytes.
pub(super) const LOOKED_AT: usize = 300;
/// Longest text, in characters, once secrets in it are replaced.
const SHOWN: usize = 480;
/// What stands where a secret stood.
const REDACTED: &str = "<redacted>";

/// The first characters of a body on one line. `secrets` are hidden wherever the answer repeats them.
pub(super) fn shown(body: &[u8], secrets: &[String]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = secrets.iter().fold(text, |text, secret| text.replace(secret, REDACTED));
    redact(&text).chars().take(SHOWN).collect()
}

/// The words in headers that carry credentials; short ones (`Bearer`) would hide innocent text.
pub(super) fn secrets_of<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Vec<String> {
    const CARRIERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"];
    let carried = headers.into_iter().filter(|(name, _)| CARRIERS.iter().any(|carrier| name.eq_ignore_ascii_case(carrier)));
    carried.flat_map(|(_, value)| value.split([' ', ';', ',', '='])).filter(|word| word.len() >= 8).map(str::to_owned).collect()
}

/// Hides what looks like a secret in JSON, forms, headers and addresses, whoever's it is.
fn redact(text: &str) -> String {
    static SECRETS: LazyLock<Option<regex::Regex>> = LazyLock::new(|| {
        let name = r"(?:password|passwd|pwd|token|secret|authorization|cookie|session[_-]?id|api[_-]?key|private[_-]?key)";
        let scheme = r"(?:(?:bearer|basic|digest|negotiate)\s+)?";
        // After a name: a text in quotes (maybe cut off), or a word. Anywhere: a JSON web token, the password of an address.
        let named = format!(r#"(?<name>{name}\\?["']?\s*[:=]\s*)(?:(?<quote>\\?["']){scheme}[^"']*|{scheme}[^"'\s,;&}}]+)"#);
        let anywhere = r"(?<scheme>://[^/\s:@]*:)[^/\s@]+(?<at>@)|eyJ[\w-]{5,}(?:\.[\w-]+){1,2}";
        regex::Regex::new(&format!("(?i){named}|{anywhere}")).ok()
    });
    match &*SECRETS {
        Some(secrets) => secrets.replace_all(text, format!("${{name}}${{quote}}${{scheme}}{REDACTED}${{at}}")).into_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_no_secrets() {
        for (body, shown) in [
            (r#"{"error":  "sorry, too many clients already"}"#, r#"{"error": "sorry, too many clients already"}"#),
            (r#"{"password": "hunter2 and more", "user": "a"}"#, r#"{"password": "<redacted>", "user": "a"}"#),
            (r#"{"access_token":"abc.def","x":1}"#, r#"{"access_token":"<redacted>","x":1}"#),
            (r#"{\"password\":\"hunter2\",\"x\":1}"#, r#"{\"password\":\"<redacted>",\"x\":1}"#),
            ("user=a&password=hunter2&x=1", "user=a&password=<redacted>&x=1"),
            ("Authorization: Bearer abc.def", "Authorization: <redacted>"),
            ("Authorization: Basic dXNlcjpwdw==", "Authorization: <redacted>"),
            ("cannot reach postgres://shop:hunter2@db:5432/shop", "cannot reach postgres://shop:<redacted>@db:5432/shop"),
            ("bad eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "bad <redacted>"),
            (r#"{"password": "cut off in the mid"#, r#"{"password": "<redacted>"#),
            ("tokens left: 5", "tokens left: 5"),
        ] {
            assert_eq!(super::shown(body.as_bytes(), &[]), shown);
        }
    }

    #[test]
    fn what_was_sent_is_hidden() {
        let secrets = secrets_of([("Authorization", "Bearer s3cr3t-value"), ("cookie", "a=b; session=12345678"), ("accept", "text/plain")]);
        assert_eq!(secrets, ["s3cr3t-value", "12345678"]);
        assert_eq!(shown(b"no s3cr3t-value in text/plain", &secrets), "no <redacted> in text/plain");
    }
}
