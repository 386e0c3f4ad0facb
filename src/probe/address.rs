//! The address of a server that is not asked by HTTP: a URL with user and password, or a file that holds one. It is shown without user,
//! password and parameters, everywhere.

use std::fmt;

use crate::registry::{Context, Node, Secret};

/// An address.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: url::Url,
}

impl Address {
    /// The key `url` or `url_file` of a probe, whose scheme is one of `schemes`; reports what is wrong, never the address itself.
    pub(super) fn decode(node: &Node, text: Option<Secret>, schemes: &[&str], example: &str, cx: &mut Context<'_>) -> Option<Self> {
        let span = ["url", "url_file"].iter().find_map(|key| node.get(key)).map(|node| node.span);
        let Some(text) = text else {
            // What was given and could not be read has been reported already.
            if span.is_none() {
                cx.diagnostics.push(
                    "missing-key",
                    node.span,
                    "the probe lacks the key `url`",
                    format!("add `url: {example}`, or `url_file:`"),
                );
            }
            return None;
        };
        match url::Url::parse(text.expose().trim()) {
            Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => Some(Self { url }),
            Ok(_) | Err(_) => {
                let schemes: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
                let message = format!("this is not an address that begins with {} and names a host", schemes.join(" or "));
                cx.diagnostics.push("bad-url", span.unwrap_or(node.span), message, format!("write it whole: `{example}`"));
                None
            }
        }
    }

    /// With user and password; only for connecting.
    pub(super) fn url(&self) -> &url::Url {
        &self.url
    }

    /// User and password, decoded; empty when there is none.
    pub(super) fn user_and_password(&self) -> (String, Secret) {
        let decoded = |text: &str| percent_decoded(text);
        (decoded(self.url.username()), Secret::new(decoded(self.url.password().unwrap_or(""))))
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or(&[]);
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.url.host_str().unwrap_or(""))?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.url.path())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_is_secret() {
        let address = Address { url: url::Url::parse("postgres://ann:ge%40heim@db:5433/shop?password=geheim#x").unwrap() };
        assert_eq!(address.to_string(), "postgres://db:5433/shop");
        assert!(!format!("{address:?}").contains("heim"));
        let (user, password) = address.user_and_password();
        assert_eq!((user.as_str(), password.expose()), ("ann", "ge@heim"));
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz%41"), "%zzA");
    }
}
